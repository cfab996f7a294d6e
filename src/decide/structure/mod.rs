//! Is this file whole? Streaming structure checks for every format a trainer writes.
