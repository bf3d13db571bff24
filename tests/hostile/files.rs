//! The files: what each is, what its author puts beside it, what a user does with it, and what must be said.

/// A file, and what is tried with it.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) topology: String,
    /// Run in the file's directory before.
    pub(crate) before: &'static str,
    pub(crate) tries: Try,
    /// Part of the refusal.
    pub(crate) says: &'static str,
}

pub(crate) enum Try {
    /// A command that must refuse the file. `lab.yaml` is the topology.
    Command(&'static [&'static str]),
    /// Lines that a program of the file tries inside its sandbox. None may work.
    Program(&'static str),
}

const UP: &[&str] = &["up", "lab.yaml"];
const VALIDATE: &[&str] = &["validate", "lab.yaml"];
const IMPORT: &[&str] = &["import", "main.json"];

/// Two machines in a subnet, `web` with these keys, and the rest of the file.
fn two_machines(web: &str, rest: &str) -> String {
    format!(
        "emulation: {{workers: 1}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/24], subnets: [{{name: s, addressPrefix: 10.0.0.0/24}}]}}
virtualMachines:
  - {{name: web, {web}networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: db, networkInterfaces: [{{subnet: v/s}}]}}
{rest}
"
    )
}

fn file(name: &'static str, topology: String, before: &'static str, tries: Try, says: &'static str) -> Hostile {
    Hostile { name, topology, before, tries, says }
}

/// Rules of a guest, from a path.
fn rules(name: &'static str, path: &str, before: &'static str, says: &'static str) -> Hostile {
    let web = format!("guest: {{nftables: '{path}'}}, ");
    file(name, two_machines(&web, ""), before, Try::Command(UP), says)
}

fn tags(name: &'static str, path: &str, before: &'static str, says: &'static str) -> Hostile {
    let used = "networkSecurityGroups: [{name: g, securityRules: [{name: r, priority: 100, direction: Inbound, access: Allow, \
                protocol: Tcp, sourceAddressPrefix: Storage, sourcePortRange: '*', destinationAddressPrefix: '*', \
                destinationPortRange: '1'}]}]";
    let topology = two_machines("", &format!("serviceTags: '{path}'\n{used}"));
    file(name, topology, before, Try::Command(VALIDATE), says)
}

fn logs(name: &'static str, path: &str, before: &'static str, says: &'static str) -> Hostile {
    let log = format!("flowLogs: [{{name: l, targetResourceId: virtualNetworks/v, storagePath: '{path}'}}]");
    file(name, two_machines("", &log), before, Try::Command(UP), says)
}

fn attached(name: &'static str, namespace: &str, before: &'static str, says: &'static str) -> Hostile {
    let topology = format!(
        "virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/24]
    subnets: [{{name: s, addressPrefix: 10.0.0.0/24}}]
    attach: {{namespace: '{namespace}', interface: vnethostile0, addresses: [10.0.0.4/24]}}
"
    );
    file(name, topology, before, Try::Command(UP), says)
}

/// The topology of two machines with another text in one place.
fn named(name: &'static str, from: &str, to: &str) -> Hostile {
    let site = "localNetworkGateways: [{name: far, gatewayIpAddress: 192.0.2.1, localNetworkAddressSpace: {addressPrefixes: [192.168.0.0/24]}}]\n\
                flowLogs: [{name: log, targetResourceId: virtualNetworks/v}]";
    let topology = two_machines("", site).replace("{subnet: v/s}", "{name: nic, subnet: v/s}");
    let topology = format!("name: lab\n{topology}");
    assert!(topology.contains(from), "{name}");
    let hostile = topology.replacen(from, to, 1);
    // As it is: `up` would give it a name of its own.
    file(name, hostile, "", Try::Command(VALIDATE), "cannot be")
}

fn program(name: &'static str, before: &'static str, script: &'static str) -> Hostile {
    file(name, two_machines("run: [sh, tries.sh], ", ""), before, Try::Program(script), "")
}

fn template(name: &'static str, link: &str, before: &'static str, says: &'static str) -> Hostile {
    let template = format!(
        r#"{{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
"contentVersion": "1.0.0.0", "resources": [{{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01",
"name": "n", "properties": {{"mode": "Incremental", "templateLink": {{{link}}}}}}}]}}"#
    );
    file(name, template, before, Try::Command(IMPORT), says)
}

/// Every file.
pub(crate) fn all() -> Vec<Hostile> {
    [paths(), names(), places(), templates(), programs(), rights()].into_iter().flatten().collect()
}

/// Files that the topology names.
fn paths() -> Vec<Hostile> {
    const OUTSIDE: &str = "not in the topology's directory";
    const LINK: &str = "outside the topology's directory";
    const NO_FILE: &str = "no regular file";
    vec![
        rules("rules of the parent directory", "../secret", "", OUTSIDE),
        rules("rules by an absolute path", "$OUT/secret", "", OUTSIDE),
        rules("rules by a link to a file", "rules.nft", "ln -s $OUT/secret rules.nft", LINK),
        rules("rules by a link to a directory", "sub/secret", "ln -s $OUT sub", LINK),
        rules("rules by a link through proc", "root/secret", "ln -s /proc/self/root$OUT root", LINK),
        rules("rules that are a device", "zero", "ln -s /dev/zero zero", LINK),
        rules("rules that are a pipe", "pipe", "mkfifo pipe", NO_FILE),
        rules("rules that are a directory", "sub", "mkdir sub", NO_FILE),
        rules("rules without an end", "huge", "truncate -s 1T huge", "larger than 1 MiB"),
        file(
            "rules that include another file",
            two_machines("guest: {nftables: \"table ip t {}; include \\\"$OUT/secret\\\"\"}, ", ""),
            "",
            Try::Command(UP),
            "include another file in their line 1",
        ),
        tags("tags of the parent directory", "$UP/secret", "", LINK),
        tags("tags by an absolute path", "$OUT/secret", "", LINK),
        tags("tags by a link", "tags.json", "ln -s $OUT/secret tags.json", LINK),
        tags("tags that are a pipe", "pipe", "mkfifo pipe", NO_FILE),
        file(
            "a test that applies a link",
            two_machines("", "tests: [{from: web, to: db, during: {apply: next.yaml, loss: 0}}]"),
            "ln -s $OUT/secret next.yaml",
            Try::Command(&["test", "lab.yaml"]),
            LINK,
        ),
        logs("flow logs in the parent directory", "$UP/directory", "", "needs your consent"),
        logs("flow logs by an absolute path", "$OUT/directory", "", "needs your consent"),
        logs("flow logs by a link", "logs", "ln -s $OUT/directory logs", "a symbolic link leads out"),
        logs("flow logs by a link to nothing", "logs/new", "ln -s $OUT/new logs", "a symbolic link leads out"),
        logs("flow logs below a file", "file/logs", "touch file", "file is no directory"),
    ]
}

/// Names that become paths.
fn names() -> Vec<Hostile> {
    vec![
        named("a lab that is a path", "name: lab", "name: ../../etc"),
        named("a lab that is absolute", "name: lab", "name: /etc/x"),
        named("a machine that is a path", "name: web", "name: ../../etc/x"),
        named("a machine that is two dots", "name: web", "name: '..'"),
        named("an interface that is a path", "name: nic", "name: ../nic"),
        named("a flow log that is a path", "name: log", "name: a/../../b"),
        named("a network that is a path", "{name: v,", "{name: ../v,"),
        named("a site that is a path", "name: far", "name: ../far"),
        named("a machine with a line of its own", "name: web", "name: \"web\\n10.0.0.1 db\""),
    ]
}

/// Namespaces that are not the lab's.
fn places() -> Vec<Hostile> {
    const CONSENT: &str = "needs your consent";
    const NONE: &str = "is no network namespace";
    vec![
        attached("a device in the network of process 1", "/proc/1/ns/net", "", CONSENT),
        attached("a device in the network of process 1 by number", "pid:1", "", CONSENT),
        attached("a device in this network by a link", "$OUT/host", "ln -s /proc/1/ns/net $OUT/host", CONSENT),
        file(
            "a device in a container's network",
            two_machines("", "").replace(
                "{name: web, networkInterfaces: [{subnet: v/s}]}",
                "{name: web, networkInterfaces: [{subnet: v/s, attach: {container: db, interface: eth1}}]}",
            ),
            "",
            Try::Command(UP),
            CONSENT,
        ),
        attached("a device in a pipe", "$OUT/pipe", "mkfifo $OUT/pipe", NONE),
        attached("a device in a file", "$OUT/secret", "", NONE),
        attached("a device in another namespace", "/proc/1/ns/mnt", "", "cannot"),
        attached("a namespace whose name is a path", "../../proc/1/ns/net", "", "a network namespace"),
    ]
}

/// What is made into a topology.
fn templates() -> Vec<Hostile> {
    const LEADS_OUT: &str = "leads out of the template's directory";
    const OUTSIDE: &str = "outside the directory of the template";
    vec![
        template("a template that links to the parent", r#""relativePath": "../secret""#, "", LEADS_OUT),
        template("a template that links to a path", r#""uri": "file://$OUT/secret""#, "", LEADS_OUT),
        template(
            "a template that links to a link",
            r#""relativePath": "next.json""#,
            "ln -s $OUT/secret next.json",
            OUTSIDE,
        ),
        template(
            "a template that links to a pipe",
            r#""relativePath": "next.json""#,
            "mkfifo next.json",
            "no regular file",
        ),
        file(
            "parameters by a link",
            r#"{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
"contentVersion": "1.0.0.0", "parameters": {"p": {"type": "string"}}, "resources": []}"#
                .to_owned(),
            "ln -s $OUT/secret main.parameters.json",
            Try::Command(IMPORT),
            "main.parameters.json: it is outside",
        ),
        file(
            "a directory of links",
            two_machines("", ""),
            "mkdir all && ln -s $OUT/secret all/a.json",
            Try::Command(&["import", "all"]),
            "a symbolic link leads out",
        ),
    ]
}

/// Programs with consent. `$OUT` is the other directory, `$DAEMON` the process that runs the lab.
fn programs() -> Vec<Hostile> {
    vec![
        program("writes to the system", "", "touch /$MARK\ntouch /etc/$MARK\ntouch /root/$MARK\necho >> /etc/hosts"),
        program(
            "writes to another directory",
            "",
            "touch $OUT/new\necho x >> $OUT/secret\nrm $OUT/secret\nmkdir $OUT/directory/new",
        ),
        program("writes by a link", "ln -s $OUT/new link", "touch link\nln -s $OUT /tmp/out && touch /tmp/out/new"),
        program(
            "writes through proc",
            "",
            "touch /proc/self/root$OUT/new\ntouch /proc/1/root$OUT/new\ntouch /proc/1/cwd/$MARK",
        ),
        program("writes beside its file", "", "touch new\nmv tries.sh other.sh\nchmod 777 .\nchown 1 tries.sh"),
        program(
            "reads another temporary directory",
            "",
            "ls /proc/$DAEMON/root/tmp\ntest -e $PWD/../$MARK\nls /tmp | grep -v said",
        ),
        program(
            "reaches the state of the lab",
            "",
            "ls /run/vnet\ntouch /run/vnet/$LAB/lab.json\ntest -S /run/vnet/$LAB/control.sock",
        ),
        program(
            "asks the daemon",
            "",
            "vnet -l $LAB status\nvnet down $LAB\npython3 -c \"import socket,os;s=socket.socket(1);s.connect('/run/vnet/'+os.environ['LAB']+'/control.sock')\"",
        ),
        program("signals others", "", "kill -0 1\nkill -0 $DAEMON\nkill -TERM $DAEMON"),
        program("traces others", "", TRACE),
        program(
            "reads the memory of others",
            "",
            "head -c1 /proc/$DAEMON/mem\ncat /proc/$DAEMON/environ\ncat /proc/1/environ\ncat /proc/$DAEMON/maps | grep .\nreadlink /proc/$DAEMON/fd/0",
        ),
        program(
            "enters the view of others",
            "",
            "nsenter --mount=/proc/1/ns/mnt true\nnsenter --mount=/proc/$DAEMON/ns/mnt true\nls /proc/$DAEMON/root/\nchroot /proc/1/root true",
        ),
        program(
            "enters other networks",
            "",
            "nsenter --net=/proc/1/ns/net true\nnsenter --net=/proc/$DAEMON/ns/net true\nip netns exec $LAB-db true\nip link set eth0 netns $DAEMON",
        ),
        program(
            "mounts",
            "",
            "mount -o remount,bind,rw /\nmount -t tmpfs none /mnt\nmount --bind /tmp $OUT\numount -l /run\numount -l /etc/hosts\nmount -t proc proc /mnt",
        ),
        program(
            "leaves by a namespace of users",
            "",
            "unshare -Urm mount -o remount,bind,rw /\nunshare -Urm touch $OUT/new\nunshare -Urm umount -l /run\nunshare -Urmpf --mount-proc kill -0 $DAEMON",
        ),
        program(
            "makes namespaces",
            "",
            "unshare --mount true\nunshare --net true\nunshare --pid --fork true\nunshare --uts true",
        ),
        program("changes its root", "mkdir root", "chroot / true\nchroot root true\npivot_root / /tmp"),
        program(
            "makes devices",
            "",
            "mknod /tmp/disk b 8 0\nmknod /tmp/memory c 1 1\nls /dev | grep -E \"^(vd|sd|nvme|mem|kmsg|loop|fuse|kvm)\"",
        ),
    ]
}

/// Programs that want more rights than they begin with.
fn rights() -> Vec<Hostile> {
    vec![
        program(
            "gains a user by set-user-ID",
            "cp $(command -v id) own; chmod u+s own",
            "test $(setpriv --reuid 65534 --clear-groups ./own -u) = 0\ncp own /tmp/own && chmod u+s /tmp/own && test $(setpriv --reuid 65534 --clear-groups /tmp/own -u) = 0",
        ),
        program(
            "gains capabilities",
            "",
            "setpriv --inh-caps +sys_admin true\ncapsh --addamb=cap_sys_admin -- -c true\ngrep CapBnd /proc/self/status | grep -v 00000000000034c1",
        ),
        program("sends frames from other networks", "", FRAMES),
        program("loads programs into the kernel", "", BPF),
        program("reads keys of its user", "", KEYS),
        program("types at a terminal", "", TYPES),
        program(
            "sets the kernel",
            "",
            "echo 60 > /proc/sys/vm/swappiness\necho x > /proc/sys/kernel/core_pattern\necho h > /proc/sysrq-trigger\nhostname other\ndate -s 2000-01-01\necho -1 > /proc/1/oom_score_adj",
        ),
        program(
            "frees itself from control groups",
            "",
            "mkdir /sys/fs/cgroup/$MARK\necho $$ > /sys/fs/cgroup/cgroup.procs\nfind /sys/fs/cgroup -name cgroup.procs -writable -exec sh -c \"echo 0 > {}\" \";\" -quit && false",
        ),
        program("opens files by handles", "", HANDLE),
    ]
}

const TRACE: &str = "python3 -c \"import ctypes,os,sys;sys.exit(ctypes.CDLL(None).ptrace(16,int(os.environ['DAEMON']),0,0)!=0)\"
python3 -c \"import ctypes,os,sys;sys.exit(ctypes.CDLL(None).ptrace(16,1,0,0)!=0)\"
python3 -c \"import os;os.pidfd_open(1);import ctypes,sys;sys.exit(ctypes.CDLL(None).syscall(438,os.pidfd_open(1),0,0)<0)\"";

const FRAMES: &str = "python3 -c \"import os,socket;f=os.open('/proc/1/ns/net',0);os.setns(f)\"
nsenter --net=/proc/1/ns/net ip link add vnethostile0 type dummy
ip link add veth9 type veth peer name vnethostile0 netns $DAEMON
ip link add link eth0 name vnethostile0 netns $DAEMON type ipvlan
ip tuntap add mode tun name vnethostile0 netns $DAEMON";

const BPF: &str = "python3 -c \"import ctypes,sys;c=ctypes.CDLL(None,use_errno=True);c.syscall(321,11,ctypes.create_string_buffer(16),16);sys.exit(ctypes.get_errno()==1)\"
python3 -c \"import ctypes,sys;c=ctypes.CDLL(None,use_errno=True);c.syscall(298,ctypes.create_string_buffer(128),0,-1,-1,0);sys.exit(ctypes.get_errno()==1)\"
modprobe dummy && false
python3 -c \"import ctypes,sys;c=ctypes.CDLL(None,use_errno=True);c.syscall(313,-1,b'',0);sys.exit(ctypes.get_errno()==1)\"";

const KEYS: &str = "python3 -c \"import ctypes,sys;sys.exit(ctypes.CDLL(None).syscall(250,0,-4,1)<0)\"
python3 -c \"import ctypes,sys;sys.exit(ctypes.CDLL(None).syscall(248,b'user',b'vnet-hostile',b'x',1,-4)<0)\"
python3 -c \"import ctypes,sys;sys.exit(ctypes.CDLL(None).syscall(250,0,-3,0)<0)\"";

const TYPES: &str = "script -qec \"python3 -c 'import fcntl;fcntl.ioctl(0,0x5412,b\\\"x\\\")'\" /dev/null
python3 -c \"open('/dev/tty','w')\"";

const HANDLE: &str = "python3 -c \"import ctypes,sys;c=ctypes.CDLL(None,use_errno=True);c.syscall(304,-100,ctypes.create_string_buffer(140),0);sys.exit(ctypes.get_errno()==1)\"";
