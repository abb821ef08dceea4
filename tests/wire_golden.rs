//! The Seata wire against bytes that others wrote (`tests/golden/wire/README.md`).
//!
//! Every frame must decode, say what its list or its file's name says, and encode again to the same bytes. Packed bodies
//! are opened, and what is inside encodes again to the same bytes; foreign ones stay shut, but must come out as they went in.
#![allow(clippy::disallowed_methods)] // reads files of the repository, not of a node

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;
use quorate_compressor::{Compressor, open, unpack};
use quorate_core::wire::{
    Decoded, Decoder, Head, Message, Registration, RegistrationResult, ResultPart, Version, decode_body, encode_body,
    encode_frame, encode_heartbeat, encode_opaque, protobuf, seata,
};
use serde_json::{Value, json};

#[test]
fn examples_say_what_is_listed_and_come_out_the_same() {
    let examples = examples();
    assert_eq!(examples.len(), 56);
    for example in &examples {
        let decoded = decode_one(&example.frame);
        assert_eq!(encode(&decoded), example.frame, "{}", example.name);
        compare_head(example, decoded.head());
        match &decoded {
            Decoded::Message(head, message) => compare_message(example, head, message),
            Decoded::Opaque(head, body) => compare_opaque(example, head, body),
            Decoded::Heartbeat(head) => assert!(head.kind.is_heartbeat(), "{}", example.name),
            Decoded::Undecodable(_, error) => panic!("{}: {error}", example.name),
        }
    }
}

#[test]
fn examples_arrive_byte_by_byte() {
    for example in examples() {
        let mut decoder = Decoder::new();
        let (last, begin) = example.frame.split_last().expect("a frame has bytes");
        for byte in begin {
            decoder.push(&[*byte]);
            assert_eq!(decoder.next_frame(), Ok(None), "{}", example.name);
        }
        decoder.push(&[*last]);
        assert_eq!(decoder.next_frame(), Ok(Some(decode_one(&example.frame))), "{}", example.name);
        assert_eq!((decoder.next_frame(), decoder.buffered_bytes()), (Ok(None), 0), "{}", example.name);
    }
}

#[test]
fn recorded_frames_come_out_the_same() {
    let mut frames = 0;
    for (file, lines) in recorded() {
        for line in lines {
            let decoded = decode_one(&line.frame);
            assert!(!matches!(decoded, Decoded::Undecodable(..)), "{file}: {decoded:?}");
            assert_eq!(encode(&decoded), line.frame, "{file}");
            assert_eq!(decoded.head().version, Version::V1, "{file}");
            frames += 1;
        }
    }
    assert_eq!(frames, 594);
}

#[test]
fn recorded_frames_are_what_their_file_is_called() {
    for (file, lines) in recorded() {
        let Some((kind, _)) = file.split_once(".client-") else { continue };
        let kind = PACKED.iter().find_map(|packer| kind.strip_suffix(packer)).unwrap_or(kind);
        for line in lines {
            let opened = open(decode_one(&line.frame));
            let is_what_it_says = match kind {
                // Those who recorded these could not look into them.
                "opaque_lz4" | "opaque_zstd" => matches!(opened, Decoded::Message(..)),
                // Graphs of Java objects.
                foreign if foreign.starts_with("opaque_") => matches!(opened, Decoded::Opaque(..)),
                kind => name_of(&opened) == kind,
            };
            assert!(is_what_it_says, "{file} holds {}", name_of(&opened));
        }
    }
}

const PACKED: [&str; 5] = ["_gzip", "_zip", "_bzip2", "_deflater", "_protobuf"];

/// What was packed by others is unpacked to the last byte, and what we pack of it opens to the same.
#[test]
fn recorded_packed_frames_are_opened_and_packed_again() {
    let mut opened = BTreeMap::new();
    for (file, lines) in recorded() {
        for line in lines {
            let Decoded::Opaque(mut head, packed) = decode_one(&line.frame) else { continue };
            let Some(compressor) = Compressor::of_code(head.compressor) else { continue };
            let plain = unpack(compressor, &mut head, &packed).unwrap_or_else(|error| panic!("{file}: {error}"));
            let message = decode_body(&mut head, &plain).unwrap_or_else(|error| panic!("{file}: {error}"));
            let mut again = BytesMut::new();
            encode_body(&head, &message, &mut again).expect("what was decoded can be encoded");
            assert_eq!(again, plain, "{file}");
            let mut frame = BytesMut::new();
            quorate_compressor::encode_frame(&head, &message, &mut frame).expect("what was decoded can be encoded");
            assert_eq!(open(decode_one(&frame)), Decoded::Message(head, message), "{file}");
            *opened.entry(compressor.code()).or_insert(0) += 1;
        }
    }
    assert_eq!(opened.keys().copied().collect::<Vec<u8>>(), Compressor::ALL.map(Compressor::code));
    assert!(opened.values().sum::<usize>() > 50, "{opened:?}");
}

/// A conversation in one go: frames do not run into each other.
#[test]
fn recorded_conversations_are_cut_into_their_frames() {
    for (file, lines) in recorded() {
        let mut streams: BTreeMap<&str, (Vec<u8>, Vec<Decoded>)> = BTreeMap::new();
        for line in &lines {
            let (bytes, frames) = streams.entry(&line.stream).or_default();
            bytes.extend_from_slice(&line.frame);
            frames.push(decode_one(&line.frame));
        }
        for (bytes, frames) in streams.into_values() {
            assert_eq!(decode_all(&bytes), frames, "{file}");
        }
    }
}

struct Example {
    name: String,
    fields: Value,
    frame: Vec<u8>,
}

struct Line {
    /// Connection, if noted, and direction.
    stream: String,
    frame: Vec<u8>,
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "wire"].iter().collect()
}

fn examples() -> Vec<Example> {
    let text = fs::read_to_string(folder().join("examples.json")).expect("the examples are in the repository");
    let listed: Vec<Value> = serde_json::from_str(&text).expect("the examples are JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let example = |listed: &Value| Example {
        name: text(&listed["name"]),
        fields: listed["fields"].clone(),
        frame: unhex(&text(&listed["hex"])),
    };
    listed.iter().map(example).collect()
}

fn recorded() -> BTreeMap<String, Vec<Line>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder().join("recorded")).expect("the recordings are in the repository") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("a readable file");
        let line = |line: &str| {
            let (stream, hex) = line.rsplit_once(' ').expect("direction and bytes");
            Line { stream: stream.to_owned(), frame: unhex(hex) }
        };
        files.insert(name, text.lines().map(line).collect());
    }
    assert_eq!(files.len(), 138);
    files
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn decode_all(bytes: &[u8]) -> Vec<Decoded> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("whole frames") {
        frames.push(frame);
    }
    assert_eq!(decoder.buffered_bytes(), 0);
    frames
}

fn decode_one(bytes: &[u8]) -> Decoded {
    let mut frames = decode_all(bytes);
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

fn encode(decoded: &Decoded) -> Vec<u8> {
    let mut out = BytesMut::new();
    match decoded {
        Decoded::Heartbeat(head) => encode_heartbeat(head, &mut out),
        Decoded::Message(head, message) => encode_frame(head, message, &mut out),
        Decoded::Opaque(head, body) => encode_opaque(head, body, &mut out),
        Decoded::Undecodable(_, error) => panic!("nothing to encode: {error}"),
    }
    .expect("what was decoded can be encoded");
    out.to_vec()
}

/// The name that `recorded/` gives its files.
fn name_of(decoded: &Decoded) -> String {
    match decoded {
        Decoded::Heartbeat(head) if head.kind.byte() == 3 => "heartbeat_ping".to_owned(),
        Decoded::Heartbeat(_) => "heartbeat_pong".to_owned(),
        Decoded::Opaque(..) => "opaque".to_owned(),
        Decoded::Undecodable(_, error) => error.to_string(),
        Decoded::Message(_, message) => match message {
            Message::Merged { messages, .. }
            | Message::MergeResult { messages }
            | Message::BatchResult { messages, .. } => {
                let many = if messages.len() < 2 { "x1" } else { "many" };
                let first = messages.first().expect("a child");
                let failed = fields(first).get("resultCode") == Some(&json!(0));
                format!("{}_{many}_{}{}", message.name(), first.name(), if failed { "_failed" } else { "" })
            }
            single => single.name().to_owned(),
        },
    }
}

fn compare_head(example: &Example, head: &Head) {
    let field = |name: &str, otherwise: u8| example.fields.get(name).cloned().unwrap_or(json!(otherwise));
    assert_eq!(field("version", 1), json!(head.version.byte()), "{}", example.name);
    assert_eq!(field("requestId", 0), json!(head.request_id), "{}", example.name);
    assert_eq!(field("messageType", head.kind.byte()), json!(head.kind.byte()), "{}", example.name);
    assert_eq!(field("compressor", 0), json!(head.compressor), "{}", example.name);
    if head.version != Version::V0 {
        assert_eq!(field("serializer", 1), json!(head.serializer), "{}", example.name);
    }
    let listed = example.fields.get("headMap").cloned().unwrap_or(json!({}));
    let found: serde_json::Map<String, Value> =
        head.head_map.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    assert_eq!(listed, Value::Object(found), "{}", example.name);
}

fn compare_opaque(example: &Example, head: &Head, body: &[u8]) {
    assert!(!head.is_plain(), "{}", example.name);
    assert!(!body.is_empty(), "{}", example.name);
    // What is inside the compressed body is listed in the clear.
    let plain = unhex(example.fields["bodyPlainHex"].as_str().expect("a text"));
    let mut head = head.clone();
    let compressor = Compressor::of_code(head.compressor).expect("it is compressed");
    assert_eq!(unpack(compressor, &mut head, body).as_ref(), Ok(&plain), "{}", example.name);
    let message = seata::decode_body(head.version, &plain).expect("a plain body");
    compare_message(example, &head, &message);
}

/// Compares every listed field; null and empty are one.
fn compare_message(example: &Example, head: &Head, message: &Message) {
    let mut found = fields(message);
    let is_protobuf = head.serializer == protobuf::SERIALIZER;
    if !is_protobuf {
        assert_eq!(example.fields["typeCode"], json!(message.type_code()), "{}", example.name);
    }
    if is_protobuf || head.version == Version::V2 && !matches!(message, Message::UnregisterRmResult(_)) {
        found.extend(reason(message));
    }
    let listed = example.fields.as_object().expect("fields");
    for (name, value) in listed.iter().filter(|(name, _)| !OF_FRAME.contains(&name.as_str())) {
        let value = if value.is_null() && name != "msgIds" && name != "globalStatus" { &json!("") } else { value };
        assert_eq!(found.remove(name).as_ref(), Some(value), "{}: {name}", example.name);
    }
    // What protobuf does not write is not listed.
    found.retain(|_, value| !is_protobuf || *value != json!("") && *value != json!(0));
    assert!(found.is_empty(), "{}: not listed: {found:?}", example.name);
}

const OF_FRAME: [&str; 9] =
    ["version", "typeCode", "requestId", "messageType", "serializer", "compressor", "flag", "headMap", "bodyPlainHex"];

type Fields = BTreeMap<String, Value>;

/// A message's fields under their names in `examples.json`.
fn fields(message: &Message) -> Fields {
    match message {
        Message::GlobalBegin { timeout_ms, name } => {
            of([("timeout", json!(timeout_ms)), ("transactionName", json!(name))])
        }
        Message::GlobalBeginResult { result, xid, extra_data } => {
            with_result(result, [("xid", json!(xid)), ("extraData", json!(extra_data))])
        }
        Message::GlobalCommit { xid, extra_data }
        | Message::GlobalRollback { xid, extra_data }
        | Message::GlobalStatus { xid, extra_data } => of([("xid", json!(xid)), ("extraData", json!(extra_data))]),
        Message::GlobalReport { xid, extra_data, status } => of([
            ("xid", json!(xid)),
            ("extraData", json!(extra_data)),
            ("globalStatus", json!(status.map(|status| status.code()))),
        ]),
        Message::GlobalCommitResult { result, status }
        | Message::GlobalRollbackResult { result, status }
        | Message::GlobalStatusResult { result, status }
        | Message::GlobalReportResult { result, status } => {
            with_result(result, [("globalStatus", json!(status.code()))])
        }
        Message::Merged { messages, ids } => with_children(messages, [("msgIds", json!(ids))]),
        Message::MergeResult { messages } => with_children(messages, []),
        Message::BatchResult { messages, ids } => with_children(messages, [("msgIds", json!(ids))]),
        Message::RegisterTm(registration) => registration_fields(registration, None),
        Message::RegisterRm { registration, resource_ids } | Message::UnregisterRm { registration, resource_ids } => {
            registration_fields(registration, Some(resource_ids))
        }
        Message::RegisterTmResult(RegistrationResult { identified, version, .. })
        | Message::RegisterRmResult(RegistrationResult { identified, version, .. })
        | Message::UnregisterRmResult(RegistrationResult { identified, version, .. }) => {
            of([("identified", json!(identified)), ("serverVersion", json!(version))])
        }
        branch => branch_fields(branch),
    }
}

fn branch_fields(message: &Message) -> Fields {
    match message {
        Message::BranchRegister { xid, branch_type, resource_id, lock_keys, application_data }
        | Message::LockQuery { xid, branch_type, resource_id, lock_keys, application_data } => of([
            ("xid", json!(xid)),
            ("branchType", json!(branch_type.code())),
            ("resourceId", json!(resource_id)),
            ("lockKey", json!(lock_keys)),
            ("applicationData", json!(application_data)),
        ]),
        Message::BranchRegisterResult { result, branch_id } => with_result(result, [("branchId", json!(branch_id.0))]),
        Message::LockQueryResult { result, lockable } => with_result(result, [("lockable", json!(lockable))]),
        Message::BranchReport { xid, branch_id, status, resource_id, application_data, branch_type } => of([
            ("xid", json!(xid)),
            ("branchId", json!(branch_id.0)),
            ("branchStatus", json!(status.code())),
            ("resourceId", json!(resource_id)),
            ("applicationData", json!(application_data)),
            ("branchType", json!(branch_type.code())),
        ]),
        Message::BranchReportResult { result } => with_result(result, []),
        Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data }
        | Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data } => of([
            ("xid", json!(xid)),
            ("branchId", json!(branch_id.0)),
            ("branchType", json!(branch_type.code())),
            ("resourceId", json!(resource_id)),
            ("applicationData", json!(application_data)),
        ]),
        Message::BranchCommitResult { result, xid, branch_id, status }
        | Message::BranchRollbackResult { result, xid, branch_id, status } => with_result(
            result,
            [("xid", json!(xid)), ("branchId", json!(branch_id.0)), ("branchStatus", json!(status.code()))],
        ),
        Message::UndoLogDelete { branch_type, resource_id, save_days } => of([
            ("branchType", json!(branch_type.code())),
            ("resourceId", json!(resource_id)),
            ("saveDays", json!(save_days)),
        ]),
        other => panic!("no fields are written down for {}", other.name()),
    }
}

fn of<const N: usize>(fields: [(&str, Value); N]) -> Fields {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn with_result<const N: usize>(result: &ResultPart, fields: [(&str, Value); N]) -> Fields {
    let mut all = of(fields);
    all.extend(of([
        ("resultCode", json!(result.code.code())),
        ("transactionExceptionCode", json!(result.exception.code())),
    ]));
    if !result.is_success() {
        all.insert("msg".to_owned(), json!(result.message));
    }
    all
}

fn with_children<const N: usize>(messages: &[Message], fields: [(&str, Value); N]) -> Fields {
    let mut all = of(fields);
    let names: Vec<String> = messages.iter().map(|message| message.name().replace('_', " ")).collect();
    all.insert("children".to_owned(), json!(names));
    all
}

fn registration_fields(registration: &Registration, resource_ids: Option<&String>) -> Fields {
    let mut all = of([
        ("clientVersion", json!(registration.version)),
        ("applicationId", json!(registration.application_id)),
        ("transactionServiceGroup", json!(registration.service_group)),
        ("extraData", json!(registration.extra_data)),
    ]);
    all.extend(resource_ids.map(|ids| ("resourceIds".to_owned(), json!(ids))));
    all
}

/// What version 2 puts in front of a registration's result.
fn reason(message: &Message) -> Fields {
    match message {
        Message::RegisterTmResult(result) | Message::RegisterRmResult(result) => {
            let mut all = of([("resultCode", json!(result.code.code()))]);
            if !result.message.is_empty() {
                all.insert("msg".to_owned(), json!(result.message));
            }
            all
        }
        _ => Fields::new(),
    }
}
