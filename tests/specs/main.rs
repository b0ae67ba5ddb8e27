//! One test binary: what Seatbeat promises.
