//! Operators that attack the host and the jobs beside theirs, and what must come of it.
//!
//! `attacks` is the catalogue, `guest` the template that most of its operators fill in. A `trial` runs one attack
//! beside the `canary`, a well-behaved job, in one process of the product's command, and judges both. Nothing
//! here knows the inside of the host: all is seen from outside, as a tenant or an operator of the machine would.

pub mod attack;
pub mod attacks;
pub mod canary;
pub mod compare;
pub mod crowd;
pub mod description;
pub mod guest;
pub mod process;
pub mod table;
pub mod trial;
