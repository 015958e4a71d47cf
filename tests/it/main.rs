//! Real jobs in real sandboxes by the real binary, as a user would run them.
//!
//! Knows the product only from outside: job files, command line, exit codes, files and sockets. What
//! a test expects is computed in the test, or published with the definition of the workload.

mod bad_components;
mod bad_inputs;
mod bad_jobs;
mod bad_outputs;
mod cli;
mod compile_bombs;
mod crash;
mod durability;
mod expiry;
mod grants;
mod harness;
mod misbehaving;
mod new_operator;
mod parallel;
mod samples;
mod several;
mod stopping;
mod streams;
mod tenants;
mod threads;
mod word_count;
