//! Figures of the parts, as a table, as JSON and as a drawing.

#[path = "../../examples/support/output.rs"]
mod output;

use std::{collections::BTreeMap, fmt, fmt::Write, path::PathBuf};

/// The folder for the results: REPORT, which is made if missing, else this folder of the checkout.
pub fn folder() -> Result<PathBuf, String> {
    let folder = std::env::var_os("REPORT")
        .map_or(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches")), PathBuf::from);
    output::make_folder(&folder).map_err(|error| format!("REPORT={error}"))?;
    Ok(folder)
}

/// What one part measured: names, with their units, and values.
#[derive(Clone, Debug, Default)]
pub struct Row(BTreeMap<String, String>);

/// Begins a row in a part's output.
const MARK: &str = "MEASURED ";

impl Row {
    pub fn failed(part: &str) -> Self {
        let mut row = Self::default();
        row.set_text("part", part);
        row.set_text("failed", "true");
        row
    }

    pub fn has_failed(&self) -> bool {
        self.0.contains_key("failed")
    }

    pub fn set(&mut self, name: &str, value: f64) {
        let digits = if value.abs() >= 100.0 { 0 } else { 2 };
        self.set_text(name, &format!("{value:.digits$}"));
    }

    pub fn set_text(&mut self, name: &str, value: &str) {
        // An option does not replace a measured value of that name.
        self.0.entry(name.to_string()).or_insert_with(|| value.replace([' ', '\n'], "_"));
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.parse().ok()
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value)
    }

    pub fn print(mut self, part: &str) {
        self.set_text("part", part);
        println!("{MARK}{self}");
    }

    pub fn parse(line: &str) -> Option<Self> {
        let pairs = line.strip_prefix(MARK)?.split_whitespace().filter_map(|pair| pair.split_once('='));
        Some(Self(pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()))
    }

    /// A short description of what was measured.
    fn label(&self) -> String {
        let words = [
            "part",
            "model",
            "detector",
            "provider",
            "batch",
            "threads",
            "spin",
            "format",
            "scale",
            "side",
            "people",
            "decoders",
            "cards",
            "streams",
            "size",
            "precision",
            "in-flight",
            "processes",
            "cameras",
            "files",
            "label",
            "adaptive",
            "prepared",
            "fuse",
            "memory",
            "do",
        ];
        let mut label = String::new();
        // A row with files also has the option cameras, which means nothing there.
        let left_out = if self.0.contains_key("files") { "cameras" } else { "" };
        for word in words.iter().filter(|word| self.0.contains_key(**word) && **word != left_out) {
            let value = self.text(word);
            let _ = match *word {
                "batch" | "threads" | "spin" | "scale" | "side" | "fuse" => write!(label, "{word}={value} "),
                // Only the file's name, without its folder.
                "model" | "detector" => write!(
                    label,
                    "{} ",
                    std::path::Path::new(value)
                        .file_stem()
                        .map_or(value.into(), |name| name.to_string_lossy())
                ),
                "people" | "decoders" | "cards" | "streams" => write!(label, "{value} {word} "),
                "in-flight" => write!(label, "{value} in flight "),
                "processes" => write!(label, "{value} processes "),
                "cameras" | "files" => write!(label, "{value} {word} "),
                "adaptive" | "prepared" => write!(label, "{word}={value} "),
                _ => write!(label, "{value} "),
            };
        }
        label.trim_end().to_string()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

/// The table's columns, for each value that a row may have.
const COLUMNS: [(&str, &str); 51] = [
    ("frames-per-second", "frames/s"),
    ("crops-per-second", "crops/s"),
    ("crops-per-second-1-stream", "1 stream"),
    ("crops-per-second-4-streams", "4 streams"),
    ("crops-per-second-16-streams", "16 streams"),
    ("crops-by-card", "crops by card"),
    ("crops-without-detector", "without detector"),
    ("by-without", "with / without"),
    ("looked-at", "frames looked at"),
    ("detector-ms-p50", "detector p50"),
    ("detector-fill", "detector fill"),
    ("teraflops", "TFLOP/s"),
    ("p50-ms", "p50 ms"),
    ("p99-ms", "p99 ms"),
    ("wait-ms-p50", "wait p50"),
    ("wait-ms-p99", "wait p99"),
    ("inference-ms-p50", "run p50"),
    ("inference-ms-p99", "run p99"),
    ("gpu-use-percent", "GPU %"),
    ("decoder-use-percent", "decoder %"),
    ("encoder-use-percent", "encoder %"),
    ("gpu-memory-mib", "MiB"),
    ("own-memory-mib", "own MiB"),
    ("gpu-growth-mib", "MiB more"),
    ("gpu-growth-late-mib", "of it late"),
    ("gpu-mib-by-tenth", "MiB by tenth"),
    ("rss-growth-mib", "RSS MiB more"),
    ("start-s", "start s"),
    ("worst-ms", "worst ms"),
    ("median-ms", "median ms"),
    ("cpu-ms", "CPU ms"),
    ("wall-ms", "wall ms"),
    ("memory-mib", "RSS MiB"),
    ("cpu-by-bare", "CPU / bare"),
    ("cpu-by-bare-low", "25 %"),
    ("cpu-by-bare-high", "75 %"),
    ("cpu-by-bare-int8", "CPU / bare int8"),
    ("cpu-by-bare-openvino", "CPU / bare OpenVINO"),
    ("cpu-by-rtmlib", "CPU / rtmlib"),
    ("cpu-by-rtmlib-not-spinning", "CPU / rtmlib without spinning"),
    ("cpu-by-1-thread", "CPU / 1 thread"),
    ("cpu-by-RGB", "CPU / RGB"),
    ("cpu-by-warp-affine", "CPU / warpAffine"),
    ("cpu-by-opencv-NV12", "CPU / OpenCV from NV12"),
    ("cpu-by-opencv-RGB", "CPU / OpenCV from RGB"),
    ("cpu-by-rtmlib-crop", "CPU / rtmlib's crop"),
    ("speed-by-bare", "frames/s / bare"),
    ("speed-by-rtmlib", "frames/s / rtmlib"),
    ("speed-by-rtmlib-not-spinning", "frames/s / rtmlib without spinning"),
    ("cores-used", "cores used"),
    ("free-percent", "free %"),
];

pub fn table(rows: &[Row]) -> String {
    let used: Vec<_> =
        COLUMNS.iter().filter(|(name, _)| rows.iter().any(|row| row.0.contains_key(*name))).collect();
    let mut text = String::from("| what |");
    used.iter().for_each(|(_, title)| text += &format!(" {title} |"));
    text += "\n|---|";
    used.iter().for_each(|_| text += "---|");
    for row in rows {
        text += &format!("\n| {} |", row.label());
        used.iter().for_each(|(name, _)| text += &format!(" {} |", row.text(name)));
    }
    text
}

pub fn json(rows: &[Row]) -> String {
    let value = |text: &str| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => text.to_string(),
        _ if ["true", "false"].contains(&text) => text.to_string(),
        _ => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    let object = |row: &Row| {
        let pairs: Vec<_> = row.0.iter().map(|(name, text)| format!("\"{name}\": {}", value(text))).collect();
        format!("  {{{}}}", pairs.join(", "))
    };
    format!("[\n{}\n]\n", rows.iter().map(object).collect::<Vec<_>>().join(",\n"))
}

/// Bars of crops a second, or of the speed relative to the bare session's.
pub fn svg(rows: &[Row], title: &str) -> Result<String, fmt::Error> {
    let rate = |row: &Row| {
        let names = ["crops-per-second", "crops-per-second-16-streams", "speed-by-bare"];
        names.iter().find_map(|name| row.number(name))
    };
    let bars: Vec<_> = rows
        .iter()
        .filter(|row| ["bare", "element", "rtmlib"].contains(&row.text("part")))
        .filter_map(|row| Some((row, rate(row)?)))
        .collect();
    let most = bars.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let height = 40 + 22 * bars.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"760\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"24\" font-size=\"14\">{title}</text>\n"
    );
    for (index, (row, rate)) in bars.iter().enumerate() {
        let (y, width) = (40 + 22 * index, 420.0 * rate / most);
        let digits = if *rate < 100.0 { 2 } else { 0 };
        let colour = match row.text("part") {
            "bare" => "#9aa5b1",
            "element" => "#1668c7",
            _ => "#c75416",
        };
        writeln!(svg, "<text x=\"20\" y=\"{}\">{}</text>", y + 13, row.label())?;
        writeln!(svg, "<rect x=\"250\" y=\"{y}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\"/>")?;
        writeln!(svg, "<text x=\"{:.1}\" y=\"{}\">{rate:.digits$}</text>", 258.0 + width, y + 13)?;
    }
    svg += "</svg>\n";
    Ok(svg)
}
