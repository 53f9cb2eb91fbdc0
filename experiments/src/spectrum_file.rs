//! `plateau entropy`: the spectral entropy of anyone's activations.
//!
//! ```text
//! file (rows, dim), rows = samples   →   Σ (dim, dim)   →   λ, H, H / ln d, exp H, (Σλ)² / Σλ²
//! ```
//! NumPy `.npy` (float32 or float64, either byte order, C or Fortran order) and `.safetensors` (F32
//! or F64). Values are taken as exact; the arithmetic is f64 ([`kernels::spectrum`]).

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use kernels::spectrum::{Centring, SpectrumMeter};
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Most columns taken: the work is three matrices of dim², a gigabyte here; at most twice that with `--fast`.
const WIDEST: usize = 8192;
/// Eigenvalues in the table; `--json` has them all.
const SHOWN: usize = 10;

/// Arguments of `plateau entropy`.
#[derive(Debug, Args)]
pub struct EntropyArgs {
    /// A 2-D array of float32 or float64, rows = samples: .npy or .safetensors
    pub file: PathBuf,
    /// Which tensor of a .safetensors file
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// Use E[x xᵀ] instead of the covariance (both are divided by the number of rows)
    #[arg(long)]
    pub uncentred: bool,
    /// Not every eigenvalue: H / ln d between two proven bounds, ± 0.002 or ± TOLERANCE
    #[arg(long, value_name = "TOLERANCE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "0.002", value_parser = tolerance)]
    pub fast: Option<f64>,
    /// Print one JSON object; without --fast it has every eigenvalue
    #[arg(long)]
    pub json: bool,
}

/// A matrix read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Values in a row; at least 1.
    pub dim: usize,
    /// (rows, dim), row major, at least one row.
    pub values: Vec<f64>,
}

/// What `plateau entropy --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entropy {
    /// Samples.
    pub rows: usize,
    /// Values in a sample.
    pub dim: usize,
    /// Eigenvalues above the rounding of the covariance.
    pub rank: usize,
    /// Whether the mean was removed.
    pub centred: bool,
    /// H in nats.
    pub entropy: f64,
    /// H / ln d.
    pub normalised_entropy: f64,
    /// exp H.
    pub effective_rank: f64,
    /// (Σλ)² / Σλ².
    pub participation_ratio: f64,
    /// Descending, of the covariance divided by `rows`.
    pub eigenvalues: Vec<f64>,
}

/// What `plateau entropy --fast --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FastEntropy {
    /// Samples.
    pub rows: usize,
    /// Values in a sample.
    pub dim: usize,
    /// Whether the mean was removed.
    pub centred: bool,
    /// H in nats, ± `bound` · ln d.
    pub entropy: f64,
    /// H / ln d, ± `bound`.
    pub normalised_entropy: f64,
    /// Half of the interval that H / ln d lies in; 0 where every eigenvalue was computed.
    pub bound: f64,
    /// exp H; 0 if there is no variance.
    pub effective_rank: f64,
    /// (Σλ)² / Σλ².
    pub participation_ratio: f64,
    /// Columns that the covariance was multiplied by: Lanczos vectors, or `dim` for each product of the
    /// whole matrix; null where every eigenvalue was computed.
    pub steps: Option<usize>,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if x > 0.0 && x < 1.0 => Ok(x),
        _ => Err("expected a number between 0 and 1, as in --fast=0.002".into()),
    }
}

/// Reads the file, prints the result to stdout. Quiet on a closed pipe.
///
/// # Errors
/// One sentence: a file that cannot be read or is not what it says, or is not a 2-D array of finite
/// floats.
pub fn entropy_command(args: &EntropyArgs) -> Result<()> {
    let samples = read_samples(&args.file, args.tensor.as_deref())?;
    let centring = if args.uncentred { Centring::Uncentred } else { Centring::Centred };
    let name = &args.file;
    let text = match args.fast {
        None => entropy(&samples, centring).map(|x| text(&x, args.json, x.table(name))),
        Some(tolerance) => {
            fast_entropy(&samples, centring, tolerance).map(|x| text(&x, args.json, x.table(name)))
        }
    };
    let text = text.map_err(|error| anyhow!("{}: {error}", name.display()))??;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn text(result: &impl Serialize, json: bool, table: String) -> Result<String> {
    Ok(if json { serde_json::to_string(result)? + "\n" } else { table })
}

/// H / ln d of `samples` to ± `tolerance`.
///
/// # Errors
/// A value that is not finite, with its row and column.
pub fn fast_entropy(samples: &Samples, centring: Centring, tolerance: f64) -> Result<FastEntropy> {
    let mut meter = SpectrumMeter::new(samples.dim);
    meter.push(&samples.values)?;
    let found = meter.entropy_within(centring, tolerance)?;
    Ok(FastEntropy {
        rows: meter.rows(),
        dim: samples.dim,
        centred: centring == Centring::Centred,
        entropy: found.entropy,
        normalised_entropy: found.normalised_entropy,
        bound: found.bound,
        effective_rank: if found.participation_ratio > 0.0 { found.entropy.exp() } else { 0.0 },
        participation_ratio: found.participation_ratio,
        steps: found.steps,
    })
}

/// The spectral numbers of `samples`.
///
/// # Errors
/// A value that is not finite, with its row and column.
pub fn entropy(samples: &Samples, centring: Centring) -> Result<Entropy> {
    let mut meter = SpectrumMeter::new(samples.dim);
    meter.push(&samples.values)?;
    let rows = meter.rows();
    let spectrum = meter.spectrum(centring)?;
    Ok(Entropy {
        rows,
        dim: samples.dim,
        rank: spectrum.rank,
        centred: centring == Centring::Centred,
        entropy: spectrum.entropy,
        normalised_entropy: spectrum.normalised_entropy,
        effective_rank: spectrum.effective_rank,
        participation_ratio: spectrum.participation_ratio,
        eigenvalues: spectrum.eigenvalues.to_vec(),
    })
}

fn title(file: &Path, rows: usize, dim: usize, centred: bool) -> String {
    let kind = if centred { "covariance" } else { "uncentred second moment" };
    format!("{}: {rows} rows of {dim}, {kind}\n\n", file.display())
}

impl FastEntropy {
    /// The table for people.
    fn table(&self, file: &Path) -> String {
        let mut text = title(file, self.rows, self.dim, self.centred);
        let whole = (self.dim as f64).ln();
        let ends = [-1.0, 1.0].map(|sign| self.effective_rank * (sign * self.bound * whole).exp());
        let how = match self.steps {
            None => "every eigenvalue, which was cheaper here".to_string(),
            Some(0) => "trace and norm alone".to_string(),
            Some(steps) if steps < self.dim => format!("Lanczos, {steps} of {} steps", self.dim),
            Some(steps) => match steps / self.dim {
                1 => "moments, 1 product".to_string(),
                products => format!("moments, {products} products"),
            },
        };
        let around = |value: f64, bound: f64| match self.steps {
            None => format!("{value:.6}"),
            Some(_) => format!("{value:.4} ± {:.4}", rounded_up(bound)),
        };
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<28}{value}"); // a String takes every write
        };
        let normalised = around(self.normalised_entropy, self.bound);
        line("normalised entropy H / ln d", format!("{normalised}  ({how})"));
        line("entropy H", around(self.entropy, self.bound * whole));
        line(
            "effective rank exp H",
            match self.steps {
                None => format!("{:.3}", self.effective_rank),
                Some(_) => format!("{:.2} to {:.2}", ends[0], ends[1]),
            },
        );
        line("participation ratio", format!("{:.3}", self.participation_ratio));
        text
    }
}

/// Up, to four places: a bound that is printed must hold for the value printed beside it.
fn rounded_up(bound: f64) -> f64 {
    ((bound + 0.5e-4) * 1e4).ceil() / 1e4
}

impl Entropy {
    /// The table for people.
    fn table(&self, file: &Path) -> String {
        let mut text = title(file, self.rows, self.dim, self.centred);
        if self.rank == 0 {
            text += match self.centred {
                true => {
                    "Rank 0: all rows are equal, so there is no variance and every number is 0.\n\n"
                }
                false => "Rank 0: every value is zero, and so is every number.\n\n",
            };
        }
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<28}{value:>14}"); // a String takes every write
        };
        line("entropy H", format!("{:.6}", self.entropy));
        line("normalised entropy H / ln d", format!("{:.6}", self.normalised_entropy));
        line("effective rank exp H", format!("{:.3}", self.effective_rank));
        line("participation ratio", format!("{:.3}", self.participation_ratio));
        line("rank", format!("{} of {}", self.rank, self.dim));
        let total: f64 = self.eigenvalues.iter().sum();
        let shown = SHOWN.min(self.rank);
        if shown > 0 && total.is_finite() {
            let _ = writeln!(text, "\n  eigenvalue        share of the trace");
            for x in &self.eigenvalues[..shown] {
                let _ = writeln!(text, "  {x:<18.6e}{:>16.3} %", 100.0 * x / total);
            }
            if shown < self.dim {
                let _ = writeln!(text, "  … {} more with --json", self.dim - shown);
            }
        }
        text
    }
}

/// Reads a 2-D array; `tensor` names it in a `.safetensors` file. NaN and infinities are let
/// through.
///
/// # Errors
/// One sentence, beginning with the file: missing, truncated, of another type or shape, empty.
pub fn read_samples(file: &Path, tensor: Option<&str>) -> Result<Samples> {
    let name = file.display();
    let extension = file.extension().and_then(|x| x.to_str()).unwrap_or("").to_ascii_lowercase();
    ensure!(
        matches!(extension.as_str(), "npy" | "safetensors"),
        "{name}: unknown extension '{extension}', expected .npy or .safetensors"
    );
    ensure!(
        extension == "safetensors" || tensor.is_none(),
        "{name}: a .npy file holds one array, so --tensor has nothing to choose"
    );
    let bytes = std::fs::read(file).map_err(|error| anyhow!("{name}: {error}"))?;
    let samples = match extension.as_str() {
        "npy" => read_npy(&bytes),
        _ => read_safetensors(&bytes, tensor),
    };
    samples.map_err(|error| anyhow!("{name}: {error:#}"))
}

fn read_npy(bytes: &[u8]) -> Result<Samples> {
    let mut data = bytes;
    let header = NpyHeader::from_reader(&mut data).context("not a whole .npy file")?;
    let DType::Plain(kind) = header.dtype() else {
        bail!("the array has named fields, expected float32 or float64");
    };
    let width = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 4) => Width::F32,
        (TypeChar::Float, 8) => Width::F64,
        _ => bail!("the array has dtype {kind}, expected float32 (f4) or float64 (f8)"),
    };
    let shape: Vec<usize> =
        header.shape().iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    let [rows, dim] = two_axes(&shape)?;
    let Some(len) = rows
        .checked_mul(dim)
        .and_then(|n| n.checked_mul(width.bytes()))
        .filter(|&n| n <= data.len())
    else {
        bail!(
            "the file is truncated: {rows} × {dim} values of {} bytes announced, {} bytes present",
            width.bytes(),
            data.len()
        );
    };
    let values = decode(&data[..len], width, kind.endianness() == Endianness::Big);
    let values = match header.order() {
        Order::C => values,
        Order::Fortran => (0..rows * dim).map(|at| values[at % dim * rows + at / dim]).collect(),
    };
    Ok(Samples { dim, values })
}

fn read_safetensors(bytes: &[u8], tensor: Option<&str>) -> Result<Samples> {
    let file = SafeTensors::deserialize(bytes).context("not a whole .safetensors file")?;
    let mut names = file.names();
    names.sort_unstable();
    let names = names.join(", ");
    let Some(tensor) = tensor else {
        bail!("say which tensor with --tensor NAME; the file holds: {names}");
    };
    let Ok(view) = file.tensor(tensor) else {
        bail!("no tensor '{tensor}'; the file holds: {names}");
    };
    let width = match view.dtype() {
        Dtype::F32 => Width::F32,
        Dtype::F64 => Width::F64,
        other => bail!("tensor '{tensor}' has dtype {other}, expected F32 or F64"),
    };
    let [_, dim] = two_axes(view.shape()).with_context(|| format!("tensor '{tensor}'"))?;
    Ok(Samples { dim, values: decode(view.data(), width, false) })
}

/// (rows, dim) of a shape, or what is wrong with it.
fn two_axes(shape: &[usize]) -> Result<[usize; 2]> {
    let [rows, dim] = *shape else {
        bail!("the array has shape {shape:?}, expected two axes: (samples, values)");
    };
    ensure!(rows > 0 && dim > 0, "the array has shape {shape:?}: it is empty");
    ensure!(dim <= WIDEST, "the array has {dim} columns; at most {WIDEST} are taken");
    Ok([rows, dim])
}

#[derive(Clone, Copy)]
enum Width {
    F32,
    F64,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

fn decode(bytes: &[u8], width: Width, big: bool) -> Vec<f64> {
    let f32_of = if big { f32::from_be_bytes } else { f32::from_le_bytes };
    let f64_of = if big { f64::from_be_bytes } else { f64::from_le_bytes };
    match width {
        Width::F32 => bytes.as_chunks().0.iter().map(|&b| f32_of(b).into()).collect(),
        Width::F64 => bytes.as_chunks().0.iter().map(|&b| f64_of(b)).collect(),
    }
}
