//! Each rule, at its limit and one beyond it.

use std::fmt::Write;

use super::*;
use crate::engine::allowed_features;

fn walked(text: &str, limits: &AdmissionLimits) -> Result<Names, AdmissionError> {
    walk(&wat::parse_str(text).unwrap(), allowed_features(), limits)
}

/// Fails unless `text` has exactly `count` of what `rule` counts.
#[track_caller]
fn has(rule: StructureRule, count: u64, text: &str) {
    let with = |limit| {
        let mut limits = AdmissionLimits::default();
        *field(rule, &mut limits) = limit;
        walked(text, &limits)
    };
    let enough = with(count);
    assert!(enough.is_ok(), "{rule:?}: {enough:?}");
    match with(count - 1) {
        Err(AdmissionError::Structure { rule: broken, limit, found }) => {
            assert_eq!((broken, limit), (rule, count - 1));
            assert!(found > limit);
        }
        other => panic!("{rule:?}: {other:?}"),
    }
}

fn field(rule: StructureRule, limits: &mut AdmissionLimits) -> &mut u64 {
    match rule {
        StructureRule::Functions => &mut limits.functions,
        StructureRule::BodyBytes => &mut limits.body_bytes,
        StructureRule::Parameters => &mut limits.parameters,
        StructureRule::Results => &mut limits.results,
        StructureRule::Locals => &mut limits.locals,
        StructureRule::LocalsTotal => &mut limits.locals_total,
        StructureRule::BlockDepth => &mut limits.block_depth,
        StructureRule::Types => &mut limits.types,
        StructureRule::Imports => &mut limits.imports,
        StructureRule::Exports => &mut limits.exports,
        StructureRule::Globals => &mut limits.globals,
        StructureRule::Memories => &mut limits.memories,
        StructureRule::Tables => &mut limits.tables,
        StructureRule::DataSegments => &mut limits.data_segments,
        StructureRule::ElementSegments => &mut limits.element_segments,
        StructureRule::Elements => &mut limits.elements,
        StructureRule::Modules => &mut limits.modules,
        StructureRule::CoreInstances => &mut limits.core_instances,
        StructureRule::Components => &mut limits.components,
        StructureRule::ComponentDepth => &mut limits.component_depth,
        StructureRule::Links => &mut limits.links,
        StructureRule::InstanceBytes => &mut limits.instance_bytes,
    }
}

#[test]
fn functions_are_counted_over_all_modules_and_looked_into() {
    let text = "(component
        (core module (func (param i32 i64) (result i32) (local i32 i32 i32) (i32.const 0)) (func))
        (component (core module (func (local i64 i64))))
    )";
    has(StructureRule::Functions, 3, text);
    has(StructureRule::Parameters, 2, text);
    has(StructureRule::Results, 1, text);
    has(StructureRule::Locals, 3, text);
    has(StructureRule::LocalsTotal, 5, text);
    // A group of locals of one type (1 + 2), `i32.const 0` (2), `end` (1).
    has(StructureRule::BodyBytes, 6, text);
}

#[test]
fn blocks_are_counted_as_deep_as_they_lie_in_each_other() {
    let text = "(component (core module (func
        (block (loop (if (i32.const 1) (then (block))) (block))) (block (block))
    )))";
    has(StructureRule::BlockDepth, 4, text);
}

#[test]
fn types_are_counted_with_what_is_declared_in_them() {
    let text = r#"(component
        (core module (type (func)) (type (func (param i32))))
        (core type (func))
        (core type (module (import "a" "b" (func))))
        (type (instance (type (func)) (export "f" (func (type 0)))))
        (type (component (type (list u8)) (import "f" (func))))
    )"#;
    // 2 + 1 + (1 + 2) + (1 + 2) + (1 + 3): text gives each anonymous function type a declaration.
    has(StructureRule::Types, 13, text);
}

#[test]
fn what_modules_declare_is_counted_over_all_of_them() {
    let text = r#"(component
        (core module
            (import "a" "f" (func))
            (memory 1) (table 3 funcref) (table 1 funcref)
            (global i32 (i32.const 0)) (global i32 (i32.const 1))
            (data (i32.const 0) "a") (data (i32.const 1) "b")
            (elem (table 0) (i32.const 0) func 0 0 0)
            (export "f" (func 0)))
        (core module (memory 1) (data "c") (global i64 (i64.const 0)))
        (import "x" (instance))
    )"#;
    has(StructureRule::Modules, 2, text);
    has(StructureRule::Memories, 2, text);
    has(StructureRule::Tables, 2, text);
    has(StructureRule::Globals, 3, text);
    has(StructureRule::DataSegments, 3, text);
    has(StructureRule::ElementSegments, 1, text);
    has(StructureRule::Elements, 3, text);
    has(StructureRule::Imports, 2, text);
    has(StructureRule::Exports, 1, text);
}

#[test]
fn components_are_counted_and_so_is_what_links_them() {
    let text = r#"(component
        (component $c (component) (component (component)))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (core instance (instantiate $m (with "a" (instance $i))))
        (alias core export $i "f" (core func $f))
        (func (canon lift (core func $f)))
        (instance (instantiate $c))
    )"#;
    has(StructureRule::Components, 5, text);
    has(StructureRule::ComponentDepth, 4, text);
    has(StructureRule::CoreInstances, 2, text);
    // An argument, an alias, a canonical function, an instance.
    has(StructureRule::Links, 4, text);
}

#[test]
fn names_are_those_of_the_outermost_component() {
    let text = r#"(component
        (import "outer" (instance))
        (component (import "inner" (instance)) (core module (import "core" "f" (func))))
        (instance $i) (export "mine" (instance $i))
    )"#;
    let names = walked(text, &AdmissionLimits::default()).unwrap();
    assert_eq!((names.imports, names.exports), (vec!["outer".into()], vec!["mine".into()]));
}

#[test]
fn what_is_not_valid_is_malformed() {
    for text in [
        "(component (core module (func (result i32))))",
        "(component (core module (table 1 externref)))",
        "(component (core module (memory i64 1)))",
        "(component (core module (func (return_call 0))))",
    ] {
        let error = walked(text, &AdmissionLimits::default()).err();
        assert!(matches!(error, Some(AdmissionError::Malformed(_))), "{text}: {error:?}");
    }
}

#[test]
fn a_large_component_of_nothing_bad_passes() {
    let mut text = "(component (core module (func $f) ".to_owned();
    for _ in 0..10_000 {
        write!(text, "(func (call $f) (block (call $f)))").unwrap();
    }
    text.push_str("))");
    assert!(walked(&text, &AdmissionLimits::default()).is_ok());
}

#[test]
fn what_instances_take_is_counted_as_often_as_they_are_made() {
    let module = r#"(core module $m
        (import "a" "f" (func))
        (func) (func)
        (memory 1) (table 1 funcref)
        (global i32 (i32.const 0)))"#;
    let (one, component) = (1024 + 64 + 5 * 32, 128);
    let twice = format!(
        r#"(component {module}
            (core module $a (func (export "f")))
            (core instance $a (instantiate $a))
            (core instance (instantiate $m (with "a" (instance $a))))
            (core instance (instantiate $m (with "a" (instance $a)))))"#
    );
    has(StructureRule::InstanceBytes, component + 2 * one + 1024 + 32, &twice);
    // Of modules that are nowhere instantiated the largest is looked at.
    has(StructureRule::InstanceBytes, one, &format!("(component {module} (core module))"));
    let nested = |inner: &str, times: usize| {
        format!("(component $outer {inner} {})", "(instance (instantiate $c))".repeat(times))
    };
    let inner = "(component $c (core module $e (func)) (core instance (instantiate $e)) \
                 (core instance (instantiate $e)))";
    has(
        StructureRule::InstanceBytes,
        component + 3 * (component + 2 * (1024 + 32)),
        &nested(inner, 3),
    );
    let outer_alias = "(core module $e (func)) \
                       (component $c (alias outer $outer $e (core module $e)) \
                       (core instance (instantiate $e)))";
    has(
        StructureRule::InstanceBytes,
        component + 2 * (component + 1024 + 32),
        &nested(outer_alias, 2),
    );
    // Empty ones in each other are many, and not nothing.
    let many =
        "(component $c (component $b) (instance (instantiate $b)) (instance (instantiate $b)))";
    has(StructureRule::InstanceBytes, component + 5 * 3 * component, &nested(many, 5));
}

#[test]
fn what_instances_copy_and_what_components_are_made_of_is_counted() {
    let passive = "(component (core module $m (func) (elem func 0 0 0) (elem declare func 0)
        (table 1 funcref) (elem (i32.const 0) func 0))
        (core instance (instantiate $m)) (core instance (instantiate $m)))";
    let one = 1024 + 2 * 32 + 3 * 64 + (3 + 1) * 16;
    has(StructureRule::InstanceBytes, 128 + 2 * one, passive);
    let made = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (type $r (resource (rep i32)))
        (core func (canon resource.drop $r))
        (func (canon lift (core func $i "f"))))"#;
    has(StructureRule::InstanceBytes, 128 + 1024 + 32 + 3 * 64, made);
}

#[test]
fn a_module_that_is_handed_in_counts_as_more_than_anything() {
    let itself = r#"(component
        (core module $e)
        (component $c (import "m" (core module $m)) (core instance (instantiate $m)))
        (instance (instantiate $c (with "m" (core module $e)))))"#;
    let in_an_instance = r#"(component
        (component $c
            (import "i" (instance $i (export "m" (core module))))
            (alias export $i "m" (core module $m))
            (core instance (instantiate $m)))
        (core module $e)
        (instance $bag (export "m" (core module $e)))
        (instance (instantiate $c (with "i" (instance $bag)))))"#;
    for text in [itself, in_an_instance] {
        let refused = walked(text, &AdmissionLimits::default()).unwrap_err();
        let rule = StructureRule::InstanceBytes;
        assert!(
            matches!(refused, AdmissionError::Structure { rule: broken, .. } if broken == rule)
        );
    }
}

#[test]
fn what_is_exported_can_be_named_once_more_and_what_follows_has_another_place() {
    let (small, one) = (1024, 1024 + 32);
    let modules = r#"(component $c (core module $small) (export "s" (core module $small))
            (core module $big (func)) (core instance (instantiate $big)))"#;
    let text = format!("(component {modules} (instance (instantiate $c)))");
    has(StructureRule::InstanceBytes, 128 + 128 + one, &text);
    let exported = r#"(component (core module $m (func)) (export $e "e" (core module $m))
            (core instance (instantiate $e)) (core module $small) (core instance (instantiate $small)))"#;
    has(StructureRule::InstanceBytes, 128 + one + small, exported);
    let components = r#"(component (component $a) (export "a" (component $a))
            (component $b (core module $m (func)) (core instance (instantiate $m)))
            (instance (instantiate $b)))"#;
    has(StructureRule::InstanceBytes, 128 + 128 + one, components);
}

#[test]
fn an_engine_takes_no_more_for_an_instance_than_is_counted() {
    // As `VMOffsets` has it: what is defined and imported here, each of which may be pointed to.
    let functions: String =
        (0..1000).map(|n| format!("(func $f{n} (drop (ref.func $f{n})))")).collect();
    let elements: String = (0..1000).map(|n| format!("$f{n} ")).collect();
    let module = format!("(module {functions} (elem declare func {elements}))");
    let module = wat::parse_str(module).unwrap();
    let counted = 1024 + 1000 * 32;
    let mut config = wasmtime::Config::new();
    let mut takes = |bytes: usize| {
        let mut pool = wasmtime::PoolingAllocationConfig::default();
        pool.max_core_instance_size(bytes)
            .total_core_instances(1)
            .total_memories(1)
            .total_tables(1);
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&config).unwrap();
        wasmtime::Module::new(&engine, &module).and_then(|module| {
            wasmtime::Instance::new(&mut wasmtime::Store::new(&engine, ()), &module, &[])
        })
    };
    takes(counted).unwrap();
    assert!(takes(1000 * 32).is_err(), "it takes less than was thought");
}
