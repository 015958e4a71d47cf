//! Makes the sandboxes of one task, one after the other.

use std::sync::Arc;

use tidemill_core::call::CallRules;
use tidemill_core::failure::Failure;
use tidemill_core::operator::{InstanceFactory, OperatorInstance};

use super::{Component, Surroundings, TaskIdentity};
use crate::signal::CallSignal;

pub(super) struct SandboxFactory {
    pub(super) component: Component,
    pub(super) rules: Arc<CallRules>,
    pub(super) identity: TaskIdentity,
    pub(super) surroundings: Surroundings,
    pub(super) stop: Arc<CallSignal>,
}

impl InstanceFactory for SandboxFactory {
    fn instantiate(&mut self) -> Result<Box<dyn OperatorInstance>, Failure> {
        let (rules, stop) = (self.rules.clone(), self.stop.clone());
        self.component.instantiate(rules, &self.identity, &self.surroundings, stop)
    }

    fn has_snapshot(&self) -> bool {
        self.component.has_snapshot()
    }
}
