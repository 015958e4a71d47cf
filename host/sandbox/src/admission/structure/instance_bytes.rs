//! How much the host has to keep for the instances of each sandbox, beside their memories and tables.
//!
//! A core instance has a place for each thing that it imports or defines, for each of its functions that may be pointed to, and for each
//! item of its passive element segments; an instance of a component, of which there may be many in each other, for itself, its
//! canonical functions and its resources. All of them are counted. That is no linear memory, so no quota has it. Must not know what is too much. Invariant: the
//! answer is never less than what the engine takes (its `VMOffsets`), whatever is instantiated how often, in whatever
//! component; a module or component that is handed from one component to another, which no tool does, counts as more than
//! anything, and so does what is not there. Whatever adds to the modules or components that can be named is followed: definitions,
//! imports, aliases, and exports, which name what they export once more.

use wasmparser::{
    ComponentAlias, ComponentExport, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, Element, ElementItems, ElementKind,
    Encoding, Instance, Payload,
};

/// Bytes for each function, global, table, memory and tag of an instance, at the most.
const ITEM_BYTES: u64 = 32;
/// Bytes for each import: what it stands for, and that it may be pointed to.
const IMPORT_BYTES: u64 = 2 * ITEM_BYTES;
/// Bytes for each segment of elements, and for each item of one that is copied to be used later.
const SEGMENT_BYTES: u64 = 64;
const ELEMENT_BYTES: u64 = 16;
/// Bytes of a core instance without any.
const INSTANCE_BYTES: u64 = 1024;
/// Bytes of an instance of a component, and of each of its canonical functions and resources.
const COMPONENT_INSTANCE_BYTES: u64 = 128;
const CANONICAL_BYTES: u64 = 64;
/// For what is not known.
const UNKNOWN: u64 = u64::MAX;

/// What a component comes to, as far as it was looked at.
#[derive(Default)]
pub(super) struct InstanceBytes {
    /// The components and modules around the place.
    frames: Vec<Frame>,
}

/// A component or module, and what it can name.
struct Frame {
    encoding: Encoding,
    /// What one instance takes.
    bytes: u64,
    modules: Vec<u64>,
    components: Vec<u64>,
}

impl Frame {
    /// What an instance of a module takes that can be named here.
    fn module(&self, index: u32) -> u64 {
        self.modules.get(index as usize).copied().unwrap_or(UNKNOWN)
    }

    /// The same of a component.
    fn component(&self, index: u32) -> u64 {
        self.components.get(index as usize).copied().unwrap_or(UNKNOWN)
    }
}

impl InstanceBytes {
    /// Looks at the next part; answers what an instance of the module or component around it takes so far.
    pub(super) fn payload(&mut self, payload: &Payload<'_>) -> wasmparser::Result<u64> {
        match payload {
            Payload::Version { encoding, .. } => {
                let bytes = match encoding {
                    Encoding::Module => INSTANCE_BYTES,
                    Encoding::Component => COMPONENT_INSTANCE_BYTES,
                };
                let (modules, components) = (Vec::new(), Vec::new());
                self.frames.push(Frame { encoding: *encoding, bytes, modules, components });
            }
            Payload::ImportSection(section) => self.add(section.count(), IMPORT_BYTES),
            Payload::FunctionSection(section) => self.add(section.count(), ITEM_BYTES),
            Payload::GlobalSection(section) => self.add(section.count(), ITEM_BYTES),
            Payload::TableSection(section) => self.add(section.count(), ITEM_BYTES),
            Payload::MemorySection(section) => self.add(section.count(), ITEM_BYTES),
            Payload::TagSection(section) => self.add(section.count(), ITEM_BYTES),
            Payload::ElementSection(section) => {
                for segment in section.clone() {
                    let Element { kind, items, .. } = segment?;
                    let count = match (kind, items) {
                        (ElementKind::Active { .. }, _) => 0,
                        (_, ElementItems::Functions(items)) => items.count(),
                        (_, ElementItems::Expressions(_, items)) => items.count(),
                    };
                    self.add(1, SEGMENT_BYTES);
                    self.add(count, ELEMENT_BYTES);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                self.add(section.count(), CANONICAL_BYTES);
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section.clone() {
                    if let ComponentType::Resource { .. } = ty? {
                        self.add(1, CANONICAL_BYTES);
                    }
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiate(|frame| frame.module(module_index));
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        self.instantiate(|frame| frame.component(component_index));
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.names_module(UNKNOWN),
                        ComponentTypeRef::Component(_) => self.names_component(UNKNOWN),
                        _ => {}
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let ComponentExport { kind, index, .. } = export?;
                    match kind {
                        ComponentExternalKind::Module => {
                            self.names_module(
                                self.frames.last().map_or(UNKNOWN, |frame| frame.module(index)),
                            );
                        }
                        ComponentExternalKind::Component => {
                            self.names_component(
                                self.frames.last().map_or(UNKNOWN, |frame| frame.component(index)),
                            );
                        }
                        _ => {}
                    }
                }
            }
            Payload::End(_) => return Ok(self.end()),
            _ => {}
        }
        Ok(self.frames.last().map_or(0, |frame| frame.bytes))
    }

    fn add(&mut self, count: u32, each: u64) {
        if let Some(frame) = self.frames.last_mut() {
            frame.bytes = frame.bytes.saturating_add(u64::from(count) * each);
        }
    }

    fn instantiate(&mut self, what: impl Fn(&Frame) -> u64) {
        if let Some(frame) = self.frames.last_mut() {
            frame.bytes = frame.bytes.saturating_add(what(frame));
        }
    }

    fn names_module(&mut self, bytes: u64) {
        self.frames.last_mut().into_iter().for_each(|frame| frame.modules.push(bytes));
    }

    fn names_component(&mut self, bytes: u64) {
        self.frames.last_mut().into_iter().for_each(|frame| frame.components.push(bytes));
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match *alias {
            // The instance may have been handed in, with whatever was defined elsewhere.
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                self.names_module(UNKNOWN);
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                self.names_component(UNKNOWN);
            }
            ComponentAlias::Outer { kind, count, index } => {
                let outer = self.frames.len().checked_sub(count as usize + 1);
                let outer = outer.and_then(|outer| self.frames.get(outer));
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        self.names_module(outer.map_or(UNKNOWN, |frame| frame.module(index)));
                    }
                    ComponentOuterAliasKind::Component => {
                        self.names_component(outer.map_or(UNKNOWN, |frame| frame.component(index)));
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
            }
            ComponentAlias::InstanceExport { .. } | ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }

    /// The innermost module or component is whole: what is around it can name it from here on.
    fn end(&mut self) -> u64 {
        let Some(Frame { encoding, bytes, .. }) = self.frames.pop() else { return 0 };
        match encoding {
            Encoding::Module => self.names_module(bytes),
            Encoding::Component => self.names_component(bytes),
        }
        bytes
    }
}
