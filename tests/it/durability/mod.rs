//! Exactly once, from outside: jobs that are killed, stopped, damaged and changed, and run again.
//!
//! What a run without disturbance publishes is what any sequence of runs must publish, each line as often.
//! Kills come at times that a seed chooses (printed; `TIDEMILL_KILL_SEED` repeats it, `TIDEMILL_KILLS` makes
//! more of them) and at named places in the binary.

mod case;
mod damage;
mod dry_run;
mod failpoints;
mod guest_state;
mod hand_over;
mod history;
mod inputs;
mod kills;
mod migrate;
mod poison;
mod resume;
mod rollback;
mod savepoints;
mod tools;
