"""Questions with right answers, one kind a file: what the evaluation asks and the bundled model learns. Importing loads nothing."""
