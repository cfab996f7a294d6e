//! A running ComfyUI is asked, and what it says is reported.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::{Stage, plan};
use crate::support::{code, stderr};

/// Answers as a ComfyUI that lists `names`, until its test ends; returns where.
fn comfyui(names: &'static str, roots: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 2000];
            let length = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let (status, body) = match head.split(' ').nth(1).unwrap_or_default() {
                "/models/loras" => ("200 OK", names.to_owned()),
                "/experiment/models" => ("200 OK", format!(r#"[{{"name":"loras","folders":[{roots}]}}]"#)),
                _ => ("404 Not Found", String::new()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    format!("http://someone:s3cret@{address}/?key=s3cret")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_comfyui_is_asked_whether_it_lists_what_is_new() {
    let stage = Stage::finished(plan()).await;
    let listed = r#"["my_first_lora\\my_first_lora.safetensors", "my_first_lora/my_first_lora_000000250.safetensors",
        "my_first_lora/my_first_lora_000000500.safetensors", "my_first_lora/my_first_lora_000000750.safetensors"]"#;
    let root = format!("{:?}", stage.loras());
    let url = comfyui(listed, root.clone());
    let run = stage.mirror(&["--comfyui-url", &url]).await;
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    assert!(stderr(&run).contains("lists all 4 new LoRAs"), "{}", stderr(&run));
    assert!(!stderr(&run).contains("s3cret"), "{}", stderr(&run));
    // Nothing new: no request, no message.
    assert_eq!(stderr(&stage.mirror(&["--comfyui-url", "http://127.0.0.1:1"]).await), "");

    // It reads another folder, or does not answer at all: reported, and no fault of the mirror.
    let folder = stage.loras().join("my_first_lora");
    for (url, words) in [
        (comfyui("[]", "\"/elsewhere/loras\"".to_owned()), "does not list"),
        (comfyui("<html>", root), "not that of a ComfyUI"),
        ("http://127.0.0.1:1".to_owned(), "no program answers there"),
    ] {
        std::fs::remove_dir_all(&folder).unwrap();
        let run = stage.mirror(&["--comfyui-url", &url, "--again"]).await;
        assert_eq!(code(&run), 0, "{}", stderr(&run));
        assert!(stderr(&run).contains(words), "{words}: {}", stderr(&run));
        assert_eq!(stage.assert_same_bytes(), 4);
    }
}
