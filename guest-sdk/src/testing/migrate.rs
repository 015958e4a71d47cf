//! State that an older version of the operator has stored, migrated into the harness as by the host.

use super::Harness;
use super::columns::checked_items;
use super::imports::with_host;
use crate::bindings::exports::tidemill::operator::operator::StateKind;
use crate::bindings::tidemill::operator::types::Failure;
use crate::codec::Encode;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::migrate::{Migrate, migrate};

impl<O: Migrate> Harness<O> {
    /// Begins with what a value state held for a key, in the form of an older schema version.
    ///
    /// # Errors
    /// The operator cannot migrate it, or the version is not older.
    ///
    /// # Panics
    /// If there is no such value state.
    pub fn stored_value<T: Encode + ?Sized>(
        mut self,
        state: &str,
        schema_version: u32,
        key: impl AsRef<[u8]>,
        item: &T,
    ) -> Result<Self> {
        let index = self.state_index(state, StateKind::Value);
        let items = self.migrated(index, schema_version, [item])?;
        self.model_mut().store_items(index, key.as_ref(), items);
        Ok(self)
    }

    /// Begins with what a list state held for a key, in the form of an older schema version.
    ///
    /// # Errors
    /// As for [`stored_value`](Self::stored_value).
    ///
    /// # Panics
    /// If there is no such list state.
    pub fn stored_list<T: Encode>(
        mut self,
        state: &str,
        schema_version: u32,
        key: impl AsRef<[u8]>,
        items: &[T],
    ) -> Result<Self> {
        let index = self.state_index(state, StateKind::List);
        let items = self.migrated(index, schema_version, items)?;
        self.model_mut().store_items(index, key.as_ref(), items);
        Ok(self)
    }

    /// Begins with what a map state held for a key, its values in the form of an older schema version.
    ///
    /// # Errors
    /// As for [`stored_value`](Self::stored_value).
    ///
    /// # Panics
    /// If there is no such map state.
    pub fn stored_map<K: Encode, V: Encode>(
        mut self,
        state: &str,
        schema_version: u32,
        key: impl AsRef<[u8]>,
        entries: &[(K, V)],
    ) -> Result<Self> {
        let index = self.state_index(state, StateKind::Map);
        let values =
            self.migrated(index, schema_version, entries.iter().map(|(_, value)| value))?;
        let keys = entries.iter().map(|(key, _)| {
            let mut bytes = Vec::new();
            key.encode(&mut bytes).map(|()| bytes)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let entries = keys.into_iter().zip(values).collect();
        self.model_mut().store_entries(index, key.as_ref(), entries);
        Ok(self)
    }

    /// Items in the form of today.
    fn migrated<'t, T: Encode + ?Sized + 't>(
        &mut self,
        state: u32,
        version: u32,
        old: impl IntoIterator<Item = &'t T>,
    ) -> Result<Vec<Vec<u8>>> {
        let about = &self.model().description.states[state as usize];
        let (name, width, today) = (about.name.clone(), about.width, about.schema_version);
        if version >= today {
            return Err(Error::fatal(format!(
                "state `{name}` has schema version {today}: the host migrates items of older ones only"
            )));
        }
        let mut column = Column::new(T::WIDTH);
        old.into_iter().try_for_each(|item| column.push(item))?;
        let call = || migrate::<O>(&name, version, &column.raw);
        let answer = with_host(&mut self.model, call);
        let answer = answer.map_err(|Failure::Fatal(message)| Error::fatal(message))?;
        Ok(checked_items(&answer, width, Some(column.len())))
    }
}
