//! Job files as they should be, and what becomes of them.

use tidemill_core::graph::EdgeKind;
use tidemill_core::limits::Limits;

use super::load;
use crate::connectors::settings::{
    Compression, Encoding, FieldType, Format, Selector, SinkSettings, SourceSettings, Stream, Style,
};

#[test]
fn what_is_left_out_takes_its_default() {
    let plan = load("name = \"a\"\n[sources.in]\nconnector = \"nexmark\"\n", &[]).unwrap();
    assert_eq!((plan.parallelism, plan.key_groups), (1, 128));
    assert_eq!((plan.batch.records, plan.batch.bytes), (4096, 256 << 10));
    assert_eq!((plan.linger_us, plan.queue_bytes, plan.state_timeout_ms), (1000, 1 << 20, None));
    let SourceSettings::Nexmark(generator) = &plan.sources[0].settings else { panic!() };
    assert_eq!((generator.stream, generator.encoding), (Stream::Nexmark, Encoding::Ndjson));
    assert_eq!((generator.seed, generator.events, generator.partitions), (42, None, 1));
}

#[test]
fn nodes_keep_the_order_of_the_file() {
    let text = "name = \"a\"\n[sources.z]\nconnector = \"stdin\"\n[sources.b]\nconnector = \
    \"stdin\"\n\
                [sources.m]\nconnector = \"stdin\"\n";
    let plan = load(text, &[]).unwrap();
    let names: Vec<_> = plan.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["z", "b", "m"]);
}

#[test]
fn paths_count_from_the_job_file() {
    let text = "name = \"a\"\n[sources.in]\nconnector = \"file\"\npath = \"in/*.csv\"\nformat = \
    \"csv\"\nkey = \"id\"\n\
                [sources.abs]\nconnector = \"file\"\npath = \"/data/x\"\n\
                [operators.op]\ncomponent = \"x.wasm\"\n[sinks.out]\nconnector = \"file\"\npath = \
                \"out\"\n";
    let plan = load(text, &[]).unwrap();
    let directory = plan.file.parent().unwrap();
    let SourceSettings::File(file) = &plan.sources[0].settings else { panic!() };
    assert_eq!(file.patterns, [format!("{}/in/*.csv", directory.display())]);
    assert_eq!((file.format, file.key.as_deref()), (Format::Csv, Some("id")));
    assert_eq!(file.split_bytes, 64 << 20);
    let SourceSettings::File(file) = &plan.sources[1].settings else { panic!() };
    assert_eq!(file.patterns, ["/data/x"]);
    assert_eq!(plan.operators[0].component, directory.join("x.wasm"));
    let SinkSettings::File(sink) = &plan.sinks[0].settings else { panic!() };
    assert_eq!(sink.directory, directory.join("out"));
    assert_eq!((sink.compression, sink.format.style), (Compression::None, Style::Raw));
}

#[test]
fn an_input_takes_a_name_a_table_or_a_list() {
    let text = "name = \"a\"\n[operators.one]\ncomponent = \"x\"\nfrom = \"in\"\n\
                [operators.kind]\ncomponent = \"x\"\nfrom = { from = \"in\", edge = \"rebalance\" \
                }\n\
                [operators.many]\ncomponent = \"x\"\nfrom = [\"in\", { from = \"b.c\", edge = \
                \"keyed\" }]\n\
                [operators.named]\ncomponent = \"x\"\ninputs.left = \"in\"\ninputs.right = \
                [\"in\", \"b\"]\n";
    let plan = load(text, &[]).unwrap();
    let inputs = |index: usize| -> Vec<(Option<&str>, &str, Option<EdgeKind>)> {
        let inputs = &plan.operators[index].inputs;
        inputs.iter().map(|i| (i.input.as_deref(), i.from.as_str(), i.kind)).collect()
    };
    assert_eq!(inputs(0), [(None, "in", None)]);
    assert_eq!(inputs(1), [(None, "in", Some(EdgeKind::Rebalance))]);
    assert_eq!(inputs(2), [(None, "in", None), (None, "b.c", Some(EdgeKind::Keyed))]);
    assert_eq!(
        inputs(3),
        [(Some("left"), "in", None), (Some("right"), "in", None), (Some("right"), "b", None)]
    );
}

#[test]
fn configuration_reaches_an_operator_as_text_in_order() {
    let text = "name = \"a\"\n[operators.op]\ncomponent = \"x\"\n\
                config = { s = \"every\", i = 1_000, f = 0.5, b = true }\n";
    let plan = load(text, &[]).unwrap();
    let config: Vec<_> =
        plan.operators[0].config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(config, [("s", "every"), ("i", "1000"), ("f", "0.5"), ("b", "true")]);
}

#[test]
fn limits_can_be_lowered() {
    let text = "name = \"a\"\n[operators.op]\ncomponent = \"x\"\n\
                limits = { memory = \"64MiB\", process-cpu = 100, process-cpu-per-record = \
                \"50us\", component-size = \"1MiB\" }\n";
    let plan = load(text, &[]).unwrap();
    let lowered = Limits {
        component_bytes: 1 << 20,
        memory_bytes: 64 << 20,
        process_cpu_us: 100_000,
        process_cpu_us_per_record: 50,
        ..Limits::default()
    };
    assert_eq!(plan.operators[0].limits, lowered);
}

#[test]
fn a_sink_says_what_records_hold() {
    let text = "name = \"a\"\n[sinks.out]\nconnector = \"file\"\nfrom = \"in\"\npath = \"out\"\n\
                format = \"ndjson\"\nkey-type = \"text\"\nvalue-type = \"msgpack\"\nfields = \
                [\"a\", \"b\"]\n\
                compression = \"zstd\"\n\
                [sinks.text]\nconnector = \"stdout\"\nfrom = \"in\"\nformat = \"text\"\n\
                [sinks.sum]\nconnector = \"discard\"\nfrom = \"in\"\nvalue-type = \"u64\"\nfields \
                = [1, 0]\n";
    let plan = load(text, &[]).unwrap();
    let SinkSettings::File(file) = &plan.sinks[0].settings else { panic!() };
    assert_eq!((file.compression, file.format.style), (Compression::Zstd, Style::Ndjson));
    let fields = &file.format.fields;
    assert_eq!((fields.key, fields.value), (Some(FieldType::Text), FieldType::MessagePack));
    assert_eq!(fields.select, [Selector::Name("a".into()), Selector::Name("b".into())]);
    let SinkSettings::Stdout(format) = &plan.sinks[1].settings else { panic!() };
    assert_eq!((format.fields.key, format.fields.value), (None, FieldType::Text));
    let SinkSettings::Discard(discard) = &plan.sinks[2].settings else { panic!() };
    let fields = discard.fields.as_ref().unwrap();
    assert_eq!(fields.select, [Selector::Index(1), Selector::Index(0)]);
}

#[test]
fn a_granted_directory_is_seen_under_its_name_unless_another_is_given() {
    let text = "name = \"a\"\n[operators.op]\ncomponent = \"x\"\n[operators.op.grants]\n\
                environment = [\"HOME_REGION\"]\n\
                directories = [{ path = \"data/models\" }, { path = \".\" }, { path = \"..\", as = \"/up\" }, \
                { path = \"/srv\", as = \"/\" }]\n";
    let grants = load(text, &[]).unwrap().operators.remove(0).grants;
    assert_eq!(grants.environment, ["HOME_REGION"]);
    let directories = grants.directories.iter();
    let directories: Vec<_> = directories
        .map(|directory| (directory.path.to_str().unwrap(), directory.guest_path.as_str()))
        .collect();
    let expected = [
        ("/jobs/data/models", "/models"),
        ("/jobs/.", "/jobs"),
        ("/jobs/..", "/up"),
        ("/srv", "/"),
    ];
    assert_eq!(directories, expected);
    let plain = load("name = \"a\"\n[operators.op]\ncomponent = \"x\"\ngrants = {}\n", &[]);
    assert!(plain.unwrap().operators[0].grants.is_empty());
}
