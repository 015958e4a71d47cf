//! Rewrites stored items of an older schema version by the operator's own code.
//!
//! Owns the checks on what comes back: as many items as went in, in the layout and within the size that the
//! state has now. Each column gets a sandbox of its own, so that the result depends on nothing but the column.

use std::sync::Arc;

use tidemill_core::column::{BytesColumn, Layout};
use tidemill_core::describe::StateDescription;
use tidemill_core::failure::{Failure, FaultCode, GuestFault};
use tidemill_core::limits::Limits;

use super::{Component, TaskIdentity, rules_outside_of_jobs};
use crate::signal::CallSignal;

impl Component {
    /// Has the operator rewrite items of one state, in the layout of `old`, into what its description
    /// says now. `stop` interrupts the call.
    ///
    /// # Errors
    /// [`Failure::Guest`] when the operator traps, breaks a limit or answers items that do not fit,
    /// [`Failure::Fatal`] when it cannot migrate them, [`Failure::Host`] when it has no `migrate`, does not
    /// describe the state any more, or the column is not in the layout of `old`.
    pub fn migrate(
        &self,
        old: &StateDescription,
        values: &BytesColumn,
        limits: Arc<Limits>,
        identity: &TaskIdentity,
        stop: Arc<CallSignal>,
    ) -> Result<BytesColumn, Failure> {
        let name = &old.name;
        let Some(new) = self.description.states.iter().find(|state| state.name == *name) else {
            return Err(Failure::Host(format!("the component describes no state {name:?}")));
        };
        let items = values
            .validate(Layout::of(old.width), "stored items")
            .map_err(|fault| Failure::Host(format!("state {name:?}: {fault}")))?;
        let value_bytes = limits.value_bytes;
        let rules = rules_outside_of_jobs(self.description.clone(), limits);
        let mut sandbox = self.sandbox(rules, identity, &[], stop)?;
        let migrated = sandbox.migrate(name, old.schema_version, values, items)?;
        let layout = Layout::of(new.width);
        let answered = migrated.validate(layout, "migrated items")?;
        if answered != items {
            let message =
                format!("`migrate` answered {answered} items of state {name:?} for {items}");
            return Err(GuestFault::new(FaultCode::BadAnswer, message).into());
        }
        let longest = match layout {
            Layout::Variable => migrated.longest(),
            Layout::Fixed(width) => width as usize,
        };
        if longest > value_bytes {
            let message = format!(
                "`migrate` answered an item of {longest} bytes; at most {value_bytes} are allowed"
            );
            return Err(GuestFault::new(FaultCode::ItemTooLarge, message).into());
        }
        Ok(migrated)
    }
}
