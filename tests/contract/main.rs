//! CONTRACT.md, row by row.
