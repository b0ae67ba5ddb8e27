//! Whole agents and the agent door as they run, real TLS, HTTP/2 and gRPC between them, over a network in which links
//! break, hang and come back and processes are killed, all on virtual time. Invariant: a seed decides what is done to
//! them and when; what they do about it is theirs alone.
//!
//! `seatbeat-sim` disturbs the deciding rooms alone, with worse faults and far more of them. Here it is what those rooms
//! stand in: streams, time-outs, back-off, keep-alive. The journal's thread is a real one, so a seed repeats the faults
//! and not each interleaving.

#[cfg(test)]
mod book;
#[cfg(test)]
mod house;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;
