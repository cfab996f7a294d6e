//! What the job offers now, with local names.
