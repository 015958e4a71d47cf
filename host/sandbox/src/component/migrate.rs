//! Rewrites stored items of an older schema version by the operator's own code.
//!
//! Owns the checks on what comes back: as many items as went in, in the layout and within the size that the
//! state has now. Each column gets a sandbox of its own, so that the result depends on nothing but the column;
//! only the limit on log lines goes on from one to the next.

use std::sync::Arc;

use tidemill_core::call::CallRules;
use tidemill_core::column::{BytesColumn, Layout};
use tidemill_core::describe::StateDescription;
use tidemill_core::failure::{Failure, FaultCode, GuestFault};
use tidemill_core::limits::Limits;

use super::{Component, TaskIdentity, rules_outside_of_jobs};
use crate::guest_data::GuestData;
use crate::guest_log::GuestLog;
use crate::instance::SandboxInstance;

/// Rewrites items for one task.
pub struct Migrator {
    component: Component,
    rules: Arc<CallRules>,
    identity: TaskIdentity,
    log: Option<GuestLog>,
}

impl Component {
    /// Readies the component to rewrite items for one task, within these limits for each call.
    pub fn migrator(&self, limits: Arc<Limits>, identity: TaskIdentity) -> Migrator {
        let rules = rules_outside_of_jobs(self.description.clone(), limits);
        Migrator { component: self.clone(), rules, identity, log: None }
    }
}

impl Migrator {
    /// Has the operator rewrite items of one state, in the layout of `old`, into what its description
    /// says now.
    ///
    /// # Errors
    /// [`Failure::Guest`] when the operator traps, breaks a limit or answers items that do not fit,
    /// [`Failure::Fatal`] when it cannot migrate them, [`Failure::Host`] when it has no `migrate`, does not
    /// describe the state any more, or the column is not in the layout of `old`.
    pub fn migrate(
        &mut self,
        old: &StateDescription,
        values: &BytesColumn,
    ) -> Result<BytesColumn, Failure> {
        let name = &old.name;
        let states = &self.rules.description.states;
        let Some(new) = states.iter().find(|state| state.name == *name) else {
            return Err(Failure::Host(format!("the component describes no state {name:?}")));
        };
        let items = values
            .validate(Layout::of(old.width), "stored items")
            .map_err(|fault| Failure::Host(format!("state {name:?}: {fault}")))?;
        let layout = Layout::of(new.width);
        let mut data = GuestData::new(self.rules.clone(), &self.identity, Arc::default());
        if let Some(log) = self.log.take() {
            data.log = log;
        }
        let (pre, exports) = (&self.component.pre, &self.component.exports);
        let mut sandbox = SandboxInstance::new(pre, exports, data)?;
        let migrated = sandbox.migrate(name, old.schema_version, values, items);
        self.log = Some(sandbox.into_log());
        let migrated = migrated?;
        self.check(&migrated, layout, name, items)?;
        Ok(migrated)
    }

    fn check(
        &self,
        migrated: &BytesColumn,
        layout: Layout,
        state: &str,
        items: usize,
    ) -> Result<(), Failure> {
        let answered = migrated.validate(layout, "migrated items")?;
        if answered != items {
            let message =
                format!("`migrate` answered {answered} items of state {state:?} for {items}");
            return Err(GuestFault::new(FaultCode::BadAnswer, message).into());
        }
        let longest = match layout {
            Layout::Variable => migrated.longest(),
            Layout::Fixed(width) => width as usize,
        };
        let value_bytes = self.rules.limits.value_bytes;
        if longest > value_bytes {
            let message = format!(
                "`migrate` answered an item of {longest} bytes; at most {value_bytes} are allowed"
            );
            return Err(GuestFault::new(FaultCode::ItemTooLarge, message).into());
        }
        Ok(())
    }
}
