//! One sandbox: a store and an instance, behind the seam that tasks see.
//!
//! Owns entering and leaving the guest. The call's frame is swapped into the store for the time of a
//! call (two pointers), so that host functions find it there; the input's columns are lowered straight
//! from where they lie.

use tidemill_core::call::{CallFrame, CallInput, Phase};
use tidemill_core::column::BytesColumn;
use tidemill_core::failure::{Failure, FaultCode, GuestFault};
use tidemill_core::operator::{BadRecord, OpenContext, OperatorInstance, SAVED_BYTES_MAX};
use wasmtime::component::{ComponentType, Func, InstancePre, Lower};
use wasmtime::{Store, StoreContextMut};

use crate::bindings::operator::Plain;
use crate::bindings::operator::exports::tidemill::operator::operator as guest;
use crate::bindings::operator::tidemill::operator::types;
use crate::component::GuestExports;
use crate::guest_data::{GuestData, HANDLES_MAX};
use crate::guest_log::GuestLog;
use crate::trap::{classify, cut_words, is_out_of_fuel, is_shortage};

/// `bytes-column`, borrowed: the generated type would want a copy.
#[derive(ComponentType, Lower)]
#[component(record)]
struct ColumnRef<'a> {
    data: &'a [u8],
    ends: &'a [u32],
}

/// `input-batch`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
struct InputRef<'a> {
    keys: ColumnRef<'a>,
    #[component(name = "key-of")]
    key_of: &'a [u32],
    values: ColumnRef<'a>,
    timestamps: &'a [i64],
}

type Answered<T> = (Result<T, types::Failure>,);
type MigrateArguments<'a> = (&'a str, u32, ColumnRef<'a>);

pub(crate) struct SandboxInstance {
    store: Store<GuestData>,
    plain: Plain,
    process: Func,
    /// `save` and `restore`, where the component has them.
    snapshot: Option<[Func; 2]>,
    migrate: Option<Func>,
    hook_cpu_us: u64,
}

impl SandboxInstance {
    pub(crate) fn new(
        pre: &InstancePre<GuestData>,
        exports: &GuestExports,
        data: GuestData,
    ) -> Result<Self, Failure> {
        let limits = data.frame.limits();
        let (hook_cpu_us, fuel) = (limits.hook_cpu_us, limits.host_call_bytes);
        let mut store = Store::new(pre.component().engine(), data);
        store.set_hostcall_fuel(fuel);
        store.set_max_component_handles(HANDLES_MAX);
        store.limiter(|data| &mut data.memory);
        store.epoch_deadline_callback(|mut store: StoreContextMut<'_, GuestData>| {
            store.data_mut().cpu.tick()
        });
        store.data_mut().cpu.begin(hook_cpu_us);
        store.set_epoch_deadline(1);
        let instance = match pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                return Err(Failure::HostFull(error.to_string()));
            }
            Err(error) if is_shortage(&error) => {
                return Err(Failure::HostFull(format!("a sandbox cannot be made: {error:#}")));
            }
            Err(error) => return Err(classify(&error, store.data_mut())),
        };
        let host_fault = |error: &dyn std::fmt::Display| Failure::Host(error.to_string());
        let plain =
            exports.plain.load(&mut store, &instance).map_err(|error| host_fault(&error))?;
        let mut function = |index| {
            let found = instance.get_func(&mut store, index);
            found.ok_or_else(|| host_fault(&"an export vanished"))
        };
        let process = function(exports.process)?;
        let snapshot = match exports.snapshot {
            Some([save, restore]) => Some([function(save)?, function(restore)?]),
            None => None,
        };
        let migrate = exports.migrate.map(function).transpose()?;
        Ok(Self { store, plain, process, snapshot, migrate, hook_cpu_us })
    }

    /// Whether the optional exports have the types of the contract.
    pub(crate) fn check_optional_exports(&self) -> wasmtime::Result<()> {
        if let Some([save, restore]) = self.snapshot {
            save.typed::<(), Answered<Vec<u8>>>(&self.store)?;
            restore.typed::<(&[u8],), Answered<()>>(&self.store)?;
        }
        if let Some(migrate) = self.migrate {
            migrate.typed::<MigrateArguments<'_>, Answered<types::BytesColumn>>(&self.store)?;
        }
        Ok(())
    }

    /// Calls `migrate` on `items` items of a state, in their old layout. Not called after `open`.
    pub(crate) fn migrate(
        &mut self,
        state: &str,
        schema_version: u32,
        values: &BytesColumn,
        items: usize,
    ) -> Result<BytesColumn, Failure> {
        let missing = || Failure::Host("the component has no `migrate`".to_owned());
        let migrate = self.migrate.ok_or_else(missing)?;
        let cpu_us = self.store.data().frame.limits().process_cpu_us_for(items);
        self.begin_spare(Phase::Migrate);
        self.enter(cpu_us);
        let values = ColumnRef { data: &values.data, ends: &values.ends };
        let answer = migrate
            .typed::<MigrateArguments<'_>, Answered<types::BytesColumn>>(&self.store)
            .and_then(|typed| typed.call(&mut self.store, (state, schema_version, values)));
        let (answer,) = answer.map_err(|error| classify(&error, self.store.data_mut()))?;
        let types::BytesColumn { data, ends } = answer.map_err(gave_up)?;
        Ok(BytesColumn { data, ends })
    }

    /// Ends the sandbox; answers its log, for the next one of the same task.
    pub(crate) fn into_log(self) -> GuestLog {
        self.store.into_data().log
    }

    fn snapshot(&self) -> Result<[Func; 2], Failure> {
        let missing = || Failure::Host("the component has no `snapshot`".to_owned());
        self.snapshot.ok_or_else(missing)
    }

    /// Begins a call on the sandbox's own spare frame, for calls that have no task.
    pub(crate) fn begin_spare(&mut self, phase: Phase) {
        self.store.data_mut().frame.begin(phase, 0, 0);
    }

    pub(crate) fn describe(&mut self) -> Result<guest::Description, Failure> {
        self.enter(self.hook_cpu_us);
        let described = self.plain.tidemill_operator_operator().call_describe(&mut self.store);
        described.map_err(|error| classify(&error, self.store.data_mut()))
    }

    fn enter(&mut self, cpu_us: u64) {
        let data = self.store.data_mut();
        data.cpu.begin(cpu_us);
        data.memory.begin_call();
        data.log.begin_call();
        self.store.set_epoch_deadline(1);
    }

    /// Runs `call` with the frame in the store.
    fn with_frame<T>(
        &mut self,
        frame: &mut Box<CallFrame>,
        cpu_us: u64,
        call: impl FnOnce(&Plain, &Func, &mut Store<GuestData>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.enter(cpu_us);
        std::mem::swap(&mut self.store.data_mut().frame, frame);
        let outcome = call(&self.plain, &self.process, &mut self.store);
        std::mem::swap(&mut self.store.data_mut().frame, frame);
        outcome.map_err(|error| classify(&error, self.store.data_mut()))
    }
}

impl OperatorInstance for SandboxInstance {
    fn open(&mut self, frame: &mut Box<CallFrame>, context: &OpenContext) -> Result<(), Failure> {
        let given = context.config.len();
        let context = guest::Context {
            tenant: context.tenant.clone(),
            job: context.job.clone(),
            operator_id: context.operator_id.clone(),
            task: context.task,
            parallelism: context.parallelism,
            incarnation: context.incarnation,
            config: context.config.clone(),
        };
        let answer = self.with_frame(frame, self.hook_cpu_us, |plain, _, store| {
            plain.tidemill_operator_operator().call_open(store, &context)
        });
        frame.left(given, self.store.data().memory.bytes());
        answer?.map_err(gave_up)
    }

    fn process(
        &mut self,
        frame: &mut Box<CallFrame>,
        input: u32,
    ) -> Result<Vec<BadRecord>, Failure> {
        let cpu_us = frame.limits().process_cpu_us_for(frame.input_len());
        let is_fixed = frame.input_is_fixed(input);
        let dictionary = frame.input.dictionary.clone();
        // The columns are lowered from here while the frame is in the store.
        let CallInput { key_of, values, timestamps, .. } = std::mem::take(&mut frame.input);
        frame.input.dictionary = dictionary.clone();
        let answer = self.with_frame(frame, cpu_us, |_, process, store| {
            let batch = InputRef {
                keys: ColumnRef { data: &dictionary.keys.data, ends: &dictionary.keys.ends },
                key_of: &key_of,
                values: ColumnRef {
                    data: &values.data,
                    ends: if is_fixed { &[] } else { &values.ends },
                },
                timestamps: &timestamps,
            };
            let process =
                process.typed::<(u32, InputRef<'_>), Answered<Vec<types::BadRecord>>>(&*store)?;
            process.call(store, (input, batch))
        });
        let given = dictionary.keys.bytes() + values.bytes() + size_of_val(&*key_of);
        frame.left(given + size_of_val(&*timestamps), self.store.data().memory.bytes());
        frame.input = CallInput { dictionary, key_of, values, timestamps };
        let bad = answer?.0.map_err(gave_up)?;
        let bad = bad.into_iter();
        Ok(bad.map(|b| BadRecord { index: b.index, reason: cut_words(&b.reason) }).collect())
    }

    fn close(&mut self, frame: &mut Box<CallFrame>) -> Result<(), Failure> {
        let answer = self.with_frame(frame, self.hook_cpu_us, |plain, _, store| {
            plain.tidemill_operator_operator().call_close(store)
        })?;
        answer.map_err(gave_up)
    }

    fn save(&mut self, frame: &mut Box<CallFrame>) -> Result<Vec<u8>, Failure> {
        let [save, _] = self.snapshot()?;
        // The answer has a limit of its own, whatever a host call may move. Only its bytes are charged.
        let host_call_bytes = frame.limits().host_call_bytes;
        self.store.set_hostcall_fuel(SAVED_BYTES_MAX);
        let answer = self.with_frame(frame, self.hook_cpu_us, |_, _, store| {
            match save.typed::<(), Answered<Vec<u8>>>(&*store)?.call(store, ()) {
                Err(error) if is_out_of_fuel(&error) => {
                    let message = format!(
                        "`save` answered more than {SAVED_BYTES_MAX} bytes: keep less, or keep it in keyed state"
                    );
                    Err(GuestFault::new(FaultCode::SaveLimit, message).into())
                }
                answered => answered,
            }
        });
        self.store.set_hostcall_fuel(host_call_bytes);
        let saved = answer.as_ref().map_or(0, |(saved,)| saved.as_ref().map_or(0, Vec::len));
        frame.left(saved, self.store.data().memory.bytes());
        answer?.0.map_err(gave_up)
    }

    fn restore(&mut self, frame: &mut Box<CallFrame>, saved: &[u8]) -> Result<(), Failure> {
        let [_, restore] = self.snapshot()?;
        let answer = self.with_frame(frame, self.hook_cpu_us, |_, _, store| {
            restore.typed::<(&[u8],), Answered<()>>(&*store)?.call(store, (saved,))
        });
        frame.left(saved.len(), self.store.data().memory.bytes());
        answer?.0.map_err(gave_up)
    }
}

fn gave_up(failure: types::Failure) -> Failure {
    match failure {
        types::Failure::Fatal(message) => Failure::Fatal(cut_words(&message)),
    }
}
