//! What CI jobs run: the steps of `action.yml` as its runner would run them, the hook for commits, the image.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(root().join(file)).unwrap()).unwrap()
}

/// A job: its directories, and what its steps have put on the path.
struct Job {
    work: TempDir,
    inputs: BTreeMap<String, String>,
}

impl Job {
    fn new(inputs: &[(&str, &str)]) -> Self {
        let defaults = yaml("action.yml")["inputs"].as_object().unwrap().clone();
        let mut all: BTreeMap<_, _> =
            defaults.into_iter().map(|(name, input)| (name, input["default"].as_str().unwrap().to_owned())).collect();
        for (name, value) in inputs {
            assert!(all.insert((*name).to_owned(), (*value).to_owned()).is_some(), "there is no input {name}");
        }
        let work = TempDir::new().unwrap();
        fs::write(work.path().join("path"), "").unwrap();
        Self { work, inputs: all }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A value of the file: text, or one expression of what a runner knows.
    fn value(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let releases = format!("file://{}", self.work.path().display());
        for (name, value) in &self.inputs {
            text = text.replace(&format!("${{{{ inputs.{name} }}}}"), value);
        }
        text = text.replace("${{ github.server_url }}/${{ github.action_repository }}/releases/download", &releases);
        assert!(!text.contains("${{"), "{text}");
        text
    }

    /// Runs the steps one after the other until one fails.
    fn run(&self) -> Output {
        let action = yaml("action.yml");
        let mut last = None;
        for step in action["runs"]["steps"].as_array().unwrap() {
            if step["if"] == "inputs.files != ''" && self.inputs["files"].is_empty() {
                continue;
            }
            assert_eq!(step["shell"], "bash");
            let mut shell = Command::new("bash");
            shell.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].as_str().unwrap()]);
            let path = fs::read_to_string(self.at("path")).unwrap().replace('\n', ":");
            shell.env("PATH", path + &std::env::var("PATH").unwrap()).current_dir(self.work.path());
            shell
                .env("GITHUB_ACTION_PATH", root())
                .env("GITHUB_PATH", self.at("path"))
                .env("RUNNER_TEMP", self.at("temp"));
            for (name, value) in step["env"].as_object().unwrap() {
                shell.env(name, self.value(value.as_str().unwrap()));
            }
            let output = shell.output().unwrap();
            let failed = !output.status.success();
            last = Some(output);
            if failed {
                break;
            }
        }
        last.unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn example(name: &str) -> String {
    root().join("config").join(name).display().to_string()
}

#[test]
fn a_job_installs_the_program_and_reports_each_file() {
    let good = example("hub-spoke.yaml");
    let job = Job::new(&[("binary", env!("CARGO_BIN_EXE_vnet")), ("files", &good), ("options", "--model-only")]);
    let output = job.run();
    assert!(output.status.success(), "{}", said(&output));
    assert!(job.at("temp/vnet-bin/vnet").is_file());
    let reports: Vec<_> = fs::read_dir(job.at("vnet-junit")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(reports.len(), 1);
    assert!(fs::read_to_string(&reports[0]).unwrap().contains("<testsuite"));
}

#[test]
fn a_job_tests_all_files_and_fails_if_one_does() {
    let bad = fs::read_to_string(example("hub-spoke.yaml")).unwrap().replace("expect: blocked", "expect: reachable");
    let job = Job::new(&[
        ("binary", env!("CARGO_BIN_EXE_vnet")),
        ("files", "bad.yaml good.yaml"),
        ("options", "--model-only"),
    ]);
    fs::write(job.at("bad.yaml"), bad).unwrap();
    fs::copy(example("hub-spoke.yaml"), job.at("good.yaml")).unwrap();
    let output = job.run();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(job.at("vnet-junit/bad.yaml.xml").is_file() && job.at("vnet-junit/good.yaml.xml").is_file());
}

#[test]
fn a_download_is_what_its_checksum_says() {
    let arch = std::env::consts::ARCH;
    let (name, version) = (format!("vnet-0.1.0-{arch}-linux.tar.gz"), [("version", "0.1.0")]);
    let job = Job::new(&version);
    let release = job.at("v0.1.0");
    fs::create_dir_all(release.join("vnet-0.1.0")).unwrap();
    fs::write(release.join("vnet-0.1.0/vnet"), "#!/bin/sh\necho vnet 0.1.0\n").unwrap();
    let script = format!("chmod 755 vnet-0.1.0/vnet && tar -czf {name} vnet-0.1.0 && sha256sum {name} >SHA256SUMS");
    assert!(Command::new("sh").args(["-ec", &script]).current_dir(&release).status().unwrap().success());
    let output = job.run();
    assert!(said(&output).contains("vnet 0.1.0") && output.status.success(), "{}", said(&output));

    fs::write(release.join(&name), "something else").unwrap();
    fs::remove_file(job.at("temp/vnet-bin/vnet")).unwrap();
    let output = job.run();
    assert!(said(&output).contains("the download is not what SHA256SUMS says"), "{}", said(&output));
    assert!(!output.status.success() && !job.at("temp/vnet-bin/vnet").exists());

    for (inputs, says) in [
        (&[("version", "")], "neither a version nor the path of a program is given"),
        (&[("binary", "/nothing")], "there is no file /nothing"),
    ] {
        let output = Job::new(inputs).run();
        assert!(said(&output).contains(says) && !output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_hook_checks_files_and_fails_for_a_mistake() {
    let hook = &yaml(".pre-commit-hooks.yaml")[0];
    let entry = root().join(hook["entry"].as_str().unwrap());
    assert_ne!(fs::metadata(&entry).unwrap().permissions().mode() & 0o111, 0);
    let pattern = regex::Regex::new(hook["files"].as_str().unwrap()).unwrap();
    assert!(pattern.is_match("labs/hub.vnet.yaml") && !pattern.is_match("hub.yaml"));
    let bin = Path::new(env!("CARGO_BIN_EXE_vnet")).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mistake = TempDir::new().unwrap();
    let bad = mistake.path().join("bad.vnet.yaml");
    fs::write(&bad, "virtualNetworks: 7\n").unwrap();
    let check = |files: &[&str]| Command::new(&entry).args(files).env("PATH", &path).output().unwrap();
    assert!(check(&[&example("hub-spoke.yaml"), &example("nsg-tiers.yaml")]).status.success());
    let output = check(&[bad.to_str().unwrap(), &example("hub-spoke.yaml")]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn the_template_for_gitlab_is_one_job_of_shell_that_parses() {
    let job = &yaml("packaging/ci/gitlab.yml")[".vnet"];
    for line in job["before_script"].as_array().unwrap().iter().chain(job["script"].as_array().unwrap()) {
        let parsed = Command::new("sh").args(["-nc", line.as_str().unwrap()]).output().unwrap();
        assert!(parsed.status.success(), "{line}: {}", said(&parsed));
    }
    assert_eq!(job["artifacts"]["reports"]["junit"], "$VNET_JUNIT/*.xml");
}

/// Exit code 3 is for warnings alone, in whichever order files are tested.
#[test]
fn warnings_alone_are_a_warning_at_gitlab() {
    let job = &yaml("packaging/ci/gitlab.yml")[".vnet"];
    assert_eq!(job["allow_failure"]["exit_codes"], 3);
    let script = job["script"].as_array().unwrap().last().unwrap().as_str().unwrap();
    let work = TempDir::new().unwrap();
    // A file is called by the exit code that it leads to.
    let program = work.path().join("vnet");
    fs::write(&program, "#!/bin/sh\nexit \"$2\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for (files, code) in
        [("0 0", 0), ("3", 3), ("0 3 0", 3), ("3 3", 3), ("3 1 3", 1), ("1 3", 1), ("0 4 0", 1), ("2", 1)]
    {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("VNET_BIN", work.path()).env("VNET_FILES", files).env("VNET_JUNIT", "reports");
        let output = shell.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{files}: {}", said(&output));
    }
}

/// The layout that engines load: names are digests of contents, and the same program gives the same bytes.
#[test]
fn an_image_is_in_the_oci_layout_and_the_same_each_time() {
    let work = TempDir::new().unwrap();
    let make = |name: &str| {
        let mut python = Command::new("python3");
        python.args(["scripts/oci.py", "Cargo.toml"]).arg(work.path().join(name)).current_dir(root());
        let output = python.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        fs::read(work.path().join(name)).unwrap()
    };
    assert!(make("one.tar") == make("two.tar"));
    let script = "tar -xf one.tar && for file in blobs/sha256/*; do echo \"$(basename \"$file\")  $file\"; done | sha256sum --check --quiet \
                  && for file in blobs/sha256/*; do tar -tzf \"$file\" 2>/dev/null || true; done";
    let output = Command::new("sh").args(["-ec", script]).current_dir(&work).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).lines().any(|line| line == "usr/bin/vnet"), "{}", said(&output));
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(work.path().join(name)).unwrap()).unwrap() };
    let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    let manifest = read(&blob(&read("index.json")["manifests"][0]["digest"]));
    let config = read(&blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/bin/vnet"]));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), manifest["layers"].as_array().unwrap().len());
}

#[test]
fn a_program_of_20_mb_is_too_large() {
    let work = TempDir::new().unwrap();
    let measured = |size: u64| {
        let program = work.path().join("program");
        fs::File::create(&program).unwrap().set_len(size).unwrap();
        Command::new(root().join("scripts/size.sh")).arg(program).output().unwrap()
    };
    assert!(measured(19_999_999).status.success());
    let output = measured(20_000_000);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("has 20000000 bytes; expected fewer than 20000000"), "{}", said(&output));
}
