//! Frames whose body is in a serializer or compressor that is not spoken here, and what to tell their owner.

use quorate_core::wire::Head;

/// The line for the log: what came, and what to set in the client.
pub fn advice(head: &Head) -> String {
    let serializer = match head.serializer {
        1 => "seata".to_owned(),
        2 => "protobuf".to_owned(),
        4 => "kryo".to_owned(),
        8 => "fst".to_owned(),
        22 => "hessian".to_owned(),
        40 => "grpc".to_owned(),
        50 => "jackson".to_owned(),
        86 => "fury".to_owned(),
        87 => "fory".to_owned(),
        100 => "fastjson2".to_owned(),
        other => format!("number {other}"),
    };
    let compressor = match head.compressor {
        0 => "none".to_owned(),
        1 => "gzip".to_owned(),
        2 => "zip".to_owned(),
        3 => "7z".to_owned(),
        4 => "bzip2".to_owned(),
        5 => "lz4".to_owned(),
        6 => "deflater".to_owned(),
        7 => "zstd".to_owned(),
        other => format!("number {other}"),
    };
    format!(
        "a frame with serializer {serializer} and compressor {compressor} cannot be read and was dropped; \
         set transport.serialization=seata and transport.compressor=none in the client"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::wire::{MessageKind, Version};

    #[test]
    fn the_line_names_both_and_the_cure() {
        let mut head = Head::new(Version::V1, MessageKind::Request, 1);
        head.serializer = 2;
        head.compressor = 9;
        let line = advice(&head);
        assert!(line.contains("serializer protobuf and compressor number 9"), "{line}");
        assert!(line.contains("transport.serialization=seata"), "{line}");
    }
}
