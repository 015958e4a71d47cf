//! One walk over a component: counts what it is made of, validates it, and notes the names of its outermost
//! imports and exports.
//!
//! What is counted is compared with its limit before it is validated, so that nothing that is too much is
//! looked at for long. Must not know what the names mean.

mod instance_bytes;
#[cfg(test)]
mod tests;

use tidemill_core::limits::{AdmissionLimits, StructureRule};
use wasmparser::{
    ComponentType, ComponentTypeDeclaration, CompositeInnerType, CoreType, ElementItems, Encoding,
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Instance, InstanceTypeDeclaration,
    ModuleTypeDeclaration, Parser, Payload, RecGroup, SectionLimited, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use self::instance_bytes::InstanceBytes;
use super::{AdmissionError, malformed};

type Checked = Result<(), AdmissionError>;

/// Names of the imports and exports of the outermost component.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// Walks over all of a component.
pub(super) fn walk(
    component: &[u8],
    features: WasmFeatures,
    limits: &AdmissionLimits,
) -> Result<Names, AdmissionError> {
    let mut walk = Walk {
        limits,
        found: [0; StructureRule::ALL.len()],
        nesting: Vec::new(),
        instance_bytes: InstanceBytes::default(),
        names: Names::default(),
        allocations: FuncValidatorAllocations::default(),
    };
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    for payload in parser.parse_all(component) {
        let payload = payload.map_err(|error| malformed(&error))?;
        walk.payload(&payload)?;
        let bytes = walk.instance_bytes.payload(&payload).map_err(|error| malformed(&error))?;
        walk.at_most(StructureRule::InstanceBytes, bytes)?;
        let valid = validator.payload(&payload).map_err(|error| malformed(&error))?;
        if let ValidPayload::Func(function, body) = valid {
            walk.function(function, &body)?;
        }
    }
    Ok(walk.names)
}

struct Walk<'l> {
    limits: &'l AdmissionLimits,
    /// For each rule, what was found so far: a sum, or the most.
    found: [u64; StructureRule::ALL.len()],
    /// The components and modules around the place.
    nesting: Vec<Encoding>,
    instance_bytes: InstanceBytes,
    names: Names,
    allocations: FuncValidatorAllocations,
}

impl Walk<'_> {
    fn add(&mut self, rule: StructureRule, count: impl Into<u64>) -> Checked {
        let found = self.found[rule as usize].saturating_add(count.into());
        self.found[rule as usize] = found;
        self.at_most(rule, found)
    }

    fn at_most(&self, rule: StructureRule, found: u64) -> Checked {
        let limit = rule.limit(self.limits);
        match found <= limit {
            true => Ok(()),
            false => Err(AdmissionError::Structure { rule, limit, found }),
        }
    }

    fn payload(&mut self, payload: &Payload<'_>) -> Checked {
        use StructureRule as Rule;
        match payload {
            Payload::Version { encoding, .. } => self.enter(*encoding),
            Payload::End(_) => {
                self.nesting.pop();
                Ok(())
            }
            Payload::TypeSection(section) => self.core_types(section),
            Payload::ImportSection(section) => self.add(Rule::Imports, section.count()),
            Payload::FunctionSection(section) => self.add(Rule::Functions, section.count()),
            Payload::TableSection(section) => self.add(Rule::Tables, section.count()),
            Payload::MemorySection(section) => self.add(Rule::Memories, section.count()),
            Payload::GlobalSection(section) => self.add(Rule::Globals, section.count()),
            Payload::ExportSection(section) => self.add(Rule::Exports, section.count()),
            Payload::DataSection(section) => self.add(Rule::DataSegments, section.count()),
            Payload::ElementSection(section) => self.elements(section),
            Payload::InstanceSection(section) => self.core_instances(section),
            Payload::CoreTypeSection(section) => each(section, |ty| self.core_type(&ty)),
            Payload::ComponentTypeSection(section) => each(section, |ty| self.component_type(&ty)),
            Payload::ComponentInstanceSection(section) => self.add(Rule::Links, section.count()),
            Payload::ComponentAliasSection(section) => self.add(Rule::Links, section.count()),
            Payload::ComponentCanonicalSection(section) => self.add(Rule::Links, section.count()),
            Payload::ComponentImportSection(section) => {
                self.add(Rule::Imports, section.count())?;
                let is_outermost = self.nesting.len() == 1;
                each(section, |import| {
                    let name = is_outermost.then(|| import.name.name.to_owned());
                    self.names.imports.extend(name);
                    Ok(())
                })
            }
            Payload::ComponentExportSection(section) => {
                self.add(Rule::Exports, section.count())?;
                let is_outermost = self.nesting.len() == 1;
                each(section, |export| {
                    let name = is_outermost.then(|| export.name.name.to_owned());
                    self.names.exports.extend(name);
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, encoding: Encoding) -> Checked {
        self.nesting.push(encoding);
        match encoding {
            Encoding::Module => self.add(StructureRule::Modules, 1u32),
            Encoding::Component => {
                self.add(StructureRule::Components, 1u32)?;
                self.at_most(StructureRule::ComponentDepth, self.nesting.len() as u64)
            }
        }
    }

    fn core_types(&mut self, section: &SectionLimited<'_, RecGroup>) -> Checked {
        self.at_most(StructureRule::Types, u64::from(section.count()))?;
        each(section, |group| self.group(&group))
    }

    fn group(&mut self, group: &RecGroup) -> Checked {
        for ty in group.types() {
            self.add(StructureRule::Types, 1u32)?;
            if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                self.at_most(StructureRule::Parameters, function.params().len() as u64)?;
                self.at_most(StructureRule::Results, function.results().len() as u64)?;
            }
        }
        Ok(())
    }

    fn core_type(&mut self, ty: &CoreType<'_>) -> Checked {
        match ty {
            CoreType::Rec(group) => self.group(group),
            CoreType::Module(declarations) => {
                self.add(StructureRule::Types, 1u32)?;
                declarations.iter().try_for_each(|declaration| match declaration {
                    ModuleTypeDeclaration::Type(group) => self.group(group),
                    _ => self.add(StructureRule::Types, 1u32),
                })
            }
        }
    }

    /// Counts a type and all declarations within it. Types are in each other as deep as the parser lets
    /// them.
    fn component_type(&mut self, ty: &ComponentType<'_>) -> Checked {
        self.add(StructureRule::Types, 1u32)?;
        match ty {
            ComponentType::Func(function) => {
                self.at_most(StructureRule::Parameters, function.params.len() as u64)
            }
            ComponentType::Component(declarations) => {
                declarations.iter().try_for_each(|declaration| match declaration {
                    ComponentTypeDeclaration::CoreType(ty) => self.core_type(ty),
                    ComponentTypeDeclaration::Type(ty) => self.component_type(ty),
                    _ => self.add(StructureRule::Types, 1u32),
                })
            }
            ComponentType::Instance(declarations) => {
                declarations.iter().try_for_each(|declaration| match declaration {
                    InstanceTypeDeclaration::CoreType(ty) => self.core_type(ty),
                    InstanceTypeDeclaration::Type(ty) => self.component_type(ty),
                    _ => self.add(StructureRule::Types, 1u32),
                })
            }
            _ => Ok(()),
        }
    }

    fn elements(&mut self, section: &SectionLimited<'_, wasmparser::Element<'_>>) -> Checked {
        self.add(StructureRule::ElementSegments, section.count())?;
        each(section, |segment| {
            let items = match segment.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            self.add(StructureRule::Elements, items)
        })
    }

    fn core_instances(&mut self, section: &SectionLimited<'_, Instance<'_>>) -> Checked {
        each(section, |instance| match instance {
            Instance::Instantiate { args, .. } => {
                self.add(StructureRule::Links, args.len() as u64)?;
                self.add(StructureRule::CoreInstances, 1u32)
            }
            Instance::FromExports(exports) => {
                self.add(StructureRule::Links, 1u32)?;
                self.add(StructureRule::Exports, exports.len() as u64)
            }
        })
    }

    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Checked {
        let refused = |error| malformed(&error);
        let bytes = body.get_binary_reader().bytes_remaining() as u64;
        self.at_most(StructureRule::BodyBytes, bytes)?;
        let mut locals = 0u64;
        for group in body.get_locals_reader().map_err(refused)? {
            locals = locals.saturating_add(u64::from(group.map_err(refused)?.0));
            self.at_most(StructureRule::Locals, locals)?;
        }
        self.add(StructureRule::LocalsTotal, locals)?;
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).map_err(refused)?;
        reader.set_features(*validator.features());
        let deepest = self.limits.block_depth.saturating_add(1);
        while !reader.eof() {
            let offset = reader.original_position();
            reader
                .visit_operator(&mut validator.visitor(offset))
                .and_then(|valid| valid)
                .map_err(refused)?;
            // The body itself is the outermost block.
            if u64::from(validator.control_stack_height()) > deepest {
                self.at_most(StructureRule::BlockDepth, deepest)?;
            }
        }
        reader
            .finish_expression(&validator.visitor(reader.original_position()))
            .map_err(refused)?;
        self.allocations = validator.into_allocations();
        Ok(())
    }
}

/// Looks at each item of a section.
fn each<'a, T: wasmparser::FromReader<'a>>(
    section: &SectionLimited<'a, T>,
    mut look: impl FnMut(T) -> Checked,
) -> Checked {
    section.clone().into_iter().try_for_each(|item| look(item.map_err(|error| malformed(&error))?))
}
