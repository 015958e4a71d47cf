//! What a component may be made of, and what compiling it may cost.
//!
//! The defaults let interpreters through: CPython and SpiderMonkey as components (measured: 13,500 and 19,900
//! functions, 38 core modules and instances, a body of 427,000 bytes, blocks 781 deep, 10,000 data segments)
//! need no more than half of any limit on their structure, but for modules and core instances. What a compiler's
//! time or memory can be blown up with is not far above that.

use serde::{Deserialize, Serialize};

use super::MIB;

/// Limits on a component's structure and on its compilation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionLimits {
    /// Functions of all core modules together.
    pub functions: u64,
    /// Bytes of one function's body.
    pub body_bytes: u64,
    /// Parameters of one function type.
    pub parameters: u64,
    /// Results of one function type.
    pub results: u64,
    /// Locals of one function.
    pub locals: u64,
    /// Locals of all functions together.
    pub locals_total: u64,
    /// Blocks in each other in one function.
    pub block_depth: u64,
    /// Types, and declarations within them.
    pub types: u64,
    /// Imports of the component and of everything in it.
    pub imports: u64,
    /// Exports of the component and of everything in it.
    pub exports: u64,
    /// Globals of all core modules together.
    pub globals: u64,
    /// Memories of all core modules together.
    pub memories: u64,
    /// Tables of all core modules together.
    pub tables: u64,
    /// Data segments of all core modules together.
    pub data_segments: u64,
    /// Element segments of all core modules together.
    pub element_segments: u64,
    /// Items of all element segments together.
    pub elements: u64,
    /// Core modules.
    pub modules: u64,
    /// Core modules that are instantiated.
    pub core_instances: u64,
    /// Components, the outermost included.
    pub components: u64,
    /// Components in each other, the outermost included.
    pub component_depth: u64,
    /// Aliases, canonical functions, and instances that instantiate no core module.
    pub links: u64,
    /// Bytes that the host keeps for the instances of one sandbox, about.
    pub instance_bytes: u64,
    /// CPU time of the compilation, in seconds.
    pub compile_cpu_s: u64,
    /// Bytes of memory that the compilation may use.
    pub compile_memory_bytes: u64,
    /// Bytes of the machine code.
    pub code_bytes: u64,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            functions: 50_000,
            body_bytes: MIB as u64,
            parameters: 100,
            results: 100,
            locals: 10_000,
            locals_total: 500_000,
            block_depth: 2_000,
            types: 10_000,
            imports: 10_000,
            exports: 20_000,
            globals: 10_000,
            memories: 8,
            tables: 32,
            data_segments: 20_000,
            element_segments: 1_000,
            elements: 100_000,
            modules: 64,
            core_instances: 64,
            components: 32,
            component_depth: 4,
            links: 10_000,
            instance_bytes: 4 * MIB as u64,
            compile_cpu_s: 60,
            compile_memory_bytes: 1024 * MIB as u64,
            code_bytes: 256 * MIB as u64,
        }
    }
}

impl AdmissionLimits {
    /// Wall time that the compilation may take, in seconds: it may have to wait for the processor.
    pub fn compile_wall_s(&self) -> u64 {
        self.compile_cpu_s.saturating_mul(3).max(30)
    }
}

/// A rule on the structure of a component: each the limit of the same name in [`AdmissionLimits`]. Names are
/// stable: users match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StructureRule {
    Functions,
    BodyBytes,
    Parameters,
    Results,
    Locals,
    LocalsTotal,
    BlockDepth,
    Types,
    Imports,
    Exports,
    Globals,
    Memories,
    Tables,
    DataSegments,
    ElementSegments,
    Elements,
    Modules,
    CoreInstances,
    Components,
    ComponentDepth,
    Links,
    InstanceBytes,
}

impl StructureRule {
    /// All rules, in the order of the documentation.
    pub const ALL: [Self; 22] = [
        Self::Functions,
        Self::BodyBytes,
        Self::Parameters,
        Self::Results,
        Self::Locals,
        Self::LocalsTotal,
        Self::BlockDepth,
        Self::Types,
        Self::Imports,
        Self::Exports,
        Self::Globals,
        Self::Memories,
        Self::Tables,
        Self::DataSegments,
        Self::ElementSegments,
        Self::Elements,
        Self::Modules,
        Self::CoreInstances,
        Self::Components,
        Self::ComponentDepth,
        Self::Links,
        Self::InstanceBytes,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::BodyBytes => "body-bytes",
            Self::Parameters => "parameters",
            Self::Results => "results",
            Self::Locals => "locals",
            Self::LocalsTotal => "locals-total",
            Self::BlockDepth => "block-depth",
            Self::Types => "types",
            Self::Imports => "imports",
            Self::Exports => "exports",
            Self::Globals => "globals",
            Self::Memories => "memories",
            Self::Tables => "tables",
            Self::DataSegments => "data-segments",
            Self::ElementSegments => "element-segments",
            Self::Elements => "elements",
            Self::Modules => "modules",
            Self::CoreInstances => "core-instances",
            Self::Components => "components",
            Self::ComponentDepth => "component-depth",
            Self::Links => "links",
            Self::InstanceBytes => "instance-bytes",
        }
    }

    /// What there are too many of, as it stands behind a number.
    pub fn what(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::BodyBytes => "bytes in the body of one function",
            Self::Parameters => "parameters of one function",
            Self::Results => "results of one function",
            Self::Locals => "locals in one function",
            Self::LocalsTotal => "locals in all functions together",
            Self::BlockDepth => "blocks in each other",
            Self::Types => "types",
            Self::Imports => "imports",
            Self::Exports => "exports",
            Self::Globals => "globals",
            Self::Memories => "memories",
            Self::Tables => "tables",
            Self::DataSegments => "data segments",
            Self::ElementSegments => "element segments",
            Self::Elements => "items in element segments",
            Self::Modules => "core modules",
            Self::CoreInstances => "instances of core modules",
            Self::Components => "components",
            Self::ComponentDepth => "components in each other",
            Self::Links => "aliases, canonical functions and instances",
            Self::InstanceBytes => "bytes that the host would keep for the instances of a sandbox",
        }
    }

    /// The most that `limits` allow.
    pub fn limit(self, limits: &AdmissionLimits) -> u64 {
        match self {
            Self::Functions => limits.functions,
            Self::BodyBytes => limits.body_bytes,
            Self::Parameters => limits.parameters,
            Self::Results => limits.results,
            Self::Locals => limits.locals,
            Self::LocalsTotal => limits.locals_total,
            Self::BlockDepth => limits.block_depth,
            Self::Types => limits.types,
            Self::Imports => limits.imports,
            Self::Exports => limits.exports,
            Self::Globals => limits.globals,
            Self::Memories => limits.memories,
            Self::Tables => limits.tables,
            Self::DataSegments => limits.data_segments,
            Self::ElementSegments => limits.element_segments,
            Self::Elements => limits.elements,
            Self::Modules => limits.modules,
            Self::CoreInstances => limits.core_instances,
            Self::Components => limits.components,
            Self::ComponentDepth => limits.component_depth,
            Self::Links => limits.links,
            Self::InstanceBytes => limits.instance_bytes,
        }
    }
}
