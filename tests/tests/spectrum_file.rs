//! `plateau entropy` reads what NumPy and safetensors write, and says in one sentence what it
//! cannot read.

use experiments::spectrum_file::{Samples, entropy, fast_entropy, read_samples};
use kernels::spectrum::Centring;
use safetensors::tensor::{Dtype, TensorView};
use std::path::PathBuf;

/// A file of these bytes in a folder of this test's own.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("plateau-spectrum-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A version 1.0 .npy file, as the format's specification has it.
fn npy(dtype: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header =
        format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Three samples of two values.
const ROWS: [f32; 6] = [1.0, 2.0, -3.0, 4.5, 5.0, -6.25];

#[test]
fn every_npy_layout_holds_the_same_samples() {
    let le4: Vec<u8> = ROWS.iter().flat_map(|x| x.to_le_bytes()).collect();
    let be4: Vec<u8> = ROWS.iter().flat_map(|x| x.to_be_bytes()).collect();
    let le8: Vec<u8> = ROWS.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
    let columns = [0, 2, 4, 1, 3, 5].map(|at| f64::from(ROWS[at]));
    let fortran: Vec<u8> = columns.iter().flat_map(|x| x.to_be_bytes()).collect();
    for (name, bytes) in [
        ("le4.npy", npy("<f4", false, "(3, 2)", &le4)),
        ("be4.npy", npy(">f4", false, "(3, 2)", &be4)),
        ("le8.NPY", npy("<f8", false, "(3, 2)", &le8)),
        ("fortran.npy", npy(">f8", true, "(3, 2)", &fortran)),
    ] {
        let samples = read_samples(&file(name, &bytes), None).unwrap();
        assert_eq!(samples.dim, 2, "{name}");
        assert_eq!(samples.values, ROWS.map(f64::from), "{name}");
    }
}

#[test]
fn safetensors_are_read_by_name() {
    let data: Vec<u8> = ROWS.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = || TensorView::new(Dtype::F32, vec![3, 2], &data).unwrap();
    let ids = TensorView::new(Dtype::I32, vec![3, 2], &data).unwrap();
    let bytes =
        safetensors::serialize([("b", tensor()), ("a", tensor()), ("ids", ids)], None).unwrap();
    let path = file("some.safetensors", &bytes);
    assert_eq!(read_samples(&path, Some("a")).unwrap().values, ROWS.map(f64::from));
    let says = |tensor| read_samples(&path, tensor).unwrap_err().to_string();
    assert!(says(None).ends_with("say which tensor with --tensor NAME; the file holds: a, b, ids"));
    assert!(says(Some("c")).ends_with("no tensor 'c'; the file holds: a, b, ids"));
    assert!(says(Some("ids")).ends_with("tensor 'ids' has dtype I32, expected F32 or F64"));
    let cut = file("cut.safetensors", &bytes[..bytes.len() - 1]);
    assert!(read_samples(&cut, Some("a")).unwrap_err().to_string().contains("not a whole"));
}

#[test]
fn what_cannot_be_read_is_said_in_one_sentence() {
    let data = [0; 48];
    for (name, bytes, sentence) in [
        ("flat.npy", npy("<f8", false, "(6,)", &data), "shape [6], expected two axes"),
        ("cube.npy", npy("<f8", false, "(3, 2, 1)", &data), "shape [3, 2, 1], expected two axes"),
        ("whole.npy", npy("<i8", false, "(3, 2)", &data), "dtype <i8, expected float32"),
        ("complex.npy", npy("<c8", false, "(3, 2)", &data), "dtype <c8, expected float32"),
        ("none.npy", npy("<f8", false, "(0, 2)", &[]), "shape [0, 2]: it is empty"),
        ("narrow.npy", npy("<f8", false, "(3, 0)", &[]), "shape [3, 0]: it is empty"),
        ("cut.npy", npy("<f8", false, "(3, 2)", &data[..47]), "truncated: 3 × 2 values of 8 bytes"),
        ("header.npy", npy("<f8", false, "(3, 2)", &data)[..50].to_vec(), "not a whole .npy file"),
        ("text.npy", b"three samples of two".to_vec(), "not a whole .npy file"),
        ("wide.npy", npy("<f4", false, "(1, 9000)", &[0; 36000]), "9000 columns; at most 8192"),
        ("other.csv", Vec::new(), "unknown extension 'csv', expected .npy or .safetensors"),
    ] {
        let says = read_samples(&file(name, &bytes), None).unwrap_err().to_string();
        assert!(says.contains(name) && says.contains(sentence), "{says}");
        assert_eq!(says.lines().count(), 1, "{says}");
    }
    let missing = read_samples(&std::env::temp_dir().join("nowhere.npy"), None).unwrap_err();
    assert!(missing.to_string().contains("nowhere.npy: "));
}

#[test]
fn a_nan_is_placed_by_row_and_column() {
    let mut rows = ROWS;
    rows[3] = f32::NAN;
    let data: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
    let samples =
        read_samples(&file("nan.npy", &npy("<f4", false, "(3, 2)", &data)), None).unwrap();
    let says = entropy(&samples, Centring::Centred).unwrap_err().to_string();
    assert!(says.contains("row 1, column 1 is NaN"), "{says}");
}

#[test]
fn the_json_has_the_documented_keys() {
    let data: Vec<u8> = ROWS.iter().flat_map(|x| x.to_le_bytes()).collect();
    let samples =
        read_samples(&file("keys.npy", &npy("<f4", false, "(3, 2)", &data)), None).unwrap();
    let json = serde_json::to_value(entropy(&samples, Centring::Centred).unwrap()).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    let spectrum = ["entropy", "normalised_entropy", "effective_rank", "participation_ratio"];
    assert_eq!(keys[..4], ["rows", "dim", "rank", "centred"]);
    assert_eq!(keys[4..8], spectrum);
    assert_eq!(keys[8..], ["eigenvalues"]);
}

/// Samples whose k-th column is of size 1/k.
fn decaying(rows: usize, dim: usize) -> Samples {
    let value = |at: usize| (at as f64 * at as f64).sin() / (1 + at % dim) as f64;
    Samples { dim, values: (0..rows * dim).map(value).collect() }
}

#[test]
fn the_fast_json_has_the_documented_keys_and_the_bound_holds() {
    let samples = decaying(300, 200);
    for centring in [Centring::Centred, Centring::Uncentred] {
        let exact = entropy(&samples, centring).unwrap();
        let fast = fast_entropy(&samples, centring, 0.01).unwrap();
        let json = serde_json::to_value(&fast).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys[..4], ["rows", "dim", "centred", "entropy"]);
        assert_eq!(keys[4..7], ["normalised_entropy", "bound", "effective_rank"]);
        assert_eq!(keys[7..], ["participation_ratio", "steps"]);
        assert!(json["bound"].as_f64().unwrap() <= 0.01 && json["steps"].as_u64().unwrap() > 0);
        assert!((fast.normalised_entropy - exact.normalised_entropy).abs() <= fast.bound);
        assert!((fast.participation_ratio / exact.participation_ratio - 1.0).abs() < 1e-9);
        assert!((fast.effective_rank.ln() - fast.entropy).abs() < 1e-12);
    }
    // Every eigenvalue, where that is cheaper: the same numbers, no bound.
    let samples = decaying(50, 7);
    let exact = entropy(&samples, Centring::Centred).unwrap();
    let fast = fast_entropy(&samples, Centring::Centred, 1e-6).unwrap();
    assert_eq!((fast.entropy, fast.bound, fast.steps), (exact.entropy, 0.0, None));
    assert!(serde_json::to_value(&fast).unwrap()["steps"].is_null());
}

#[test]
fn flat_samples_are_bounded_from_products_and_the_table_says_how_many() {
    let value = |at: usize| (at as f64 * at as f64).sin();
    let samples = Samples { dim: 300, values: (0..400 * 300).map(value).collect() };
    let exact = entropy(&samples, Centring::Centred).unwrap();
    let fast = fast_entropy(&samples, Centring::Centred, 0.005).unwrap();
    assert!((fast.normalised_entropy - exact.normalised_entropy).abs() <= fast.bound);
    assert!(fast.bound <= 0.005);
    let products = fast.steps.unwrap() / 300;
    assert_eq!((fast.steps, products > 0), (Some(300 * products), true));
    let bytes: Vec<u8> = samples.values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let path = file("flat.npy", &npy("<f8", false, "(400, 300)", &bytes));
    let out = tests::plateau().arg("entropy").arg(&path).arg("--fast=0.005").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains(&format!("(moments, {products} product")), "{text}");
}

#[test]
fn the_command_prints_a_value_and_a_bound_that_hold() {
    let samples = decaying(300, 200);
    let bytes: Vec<u8> = samples.values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let path = file("fast.npy", &npy("<f8", false, "(300, 200)", &bytes));
    let plateau = |arguments: &[&str]| {
        let out = tests::plateau().arg("entropy").arg(&path).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let exact = entropy(&samples, Centring::Centred).unwrap().normalised_entropy;
    for arguments in [&["--fast"][..], &["--fast=0.0005"], &["--fast=0.05"]] {
        let (code, text, _) = plateau(arguments);
        assert_eq!(code, Some(0));
        let line = text.lines().find(|line| line.contains("normalised entropy")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|&word| word == "±").unwrap();
        let (value, bound): (f64, f64) =
            (words[at - 1].parse().unwrap(), words[at + 1].parse().unwrap());
        assert!((value - exact).abs() <= bound, "{line}, exactly {exact}");
        assert!(line.contains(" of 200 steps)"), "{line}");
    }
    for wrong in ["--fast=0", "--fast=2", "--fast=soon", "--fast=NaN"] {
        let (code, _, says) = plateau(&[wrong]);
        assert!(code == Some(2) && says.contains("expected a number between 0 and 1"), "{says}");
    }
}
