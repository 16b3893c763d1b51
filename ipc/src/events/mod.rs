//! What nginx's workers tell the rest of the host: attacks and traffic.
//!
//! | file | does |
//! |---|---|
//! | [`mask`] | takes secrets out of text before anything leaves a worker |
//! | [`json`] | any bytes -> a JSON string, and back |
//! | [`line`] | a blocked or observed request -> a line of the attack journal |
//! | [`flood`] | counts what would be written over and over |
//! | [`backlog`] | finished lines on their way to a file, bounded |
//! | [`file`] | the file they end in
//! | [`traffic`] | a request -> a record for behavioural analysis, and back |
//! | [`ring`] | records in shared memory: many writers, readers that are not waited for |
//!
//! Invariants: only [`file`] and opening a ring do I/O; everything is bounded, and what is
//! lost is counted; no secret that [`mask`] knows is in a line or a record.

pub mod backlog;
pub mod file;
pub mod flood;
pub mod json;
pub mod line;
pub mod mask;
pub mod ring;
pub mod traffic;
