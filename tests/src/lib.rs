//! Whole-pipeline scenarios and repository checks live in `tests/`.
