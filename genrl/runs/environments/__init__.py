"""The environments of a run: how they are made, checked, watched and rewound."""
