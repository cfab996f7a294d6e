//! Where decisions meet effects: loops without rules of their own.
