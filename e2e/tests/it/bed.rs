//! What the tests stand on.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flotilla_harness::{AgentProcess, HubOptions, HubProcess, Programs, TIER_BINDINGS};
use flotilla_testbed::{Binaries, ControlPlane, MetricsServer, Node, Options, StateDir, skipped, wait_until};

use crate::commands::Kubectl;

/// The cluster behind the agent. Its name lets the built-in role `developer` work in it.
pub(crate) const CLUSTER: &str = "dev-e2e";
/// The same control plane, reached by the hub itself through a kubeconfig. No developer sees it.
pub(crate) const DIRECT: &str = "prod-e2e";
/// How long anything may take to come up on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A pod that serves HTTP on 8080, sleeps well and dies at once, and its Service.
pub(crate) const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: flotilla.test/busybox:1
    command: [sh, -c, "mkdir /www && echo hello > /www/index.html && echo started && exec httpd -f -p 8080 -h /www"]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"#;

/// The shared control plane, hub and agent. Lives as long as the test program; the leashes end it then.
pub(crate) struct Bed {
    pub(crate) stand: Stand,
    _metrics: Option<MetricsServer>,
    node: Result<Node, String>,
    pub(crate) plane: ControlPlane,
    pub(crate) binaries: Binaries,
}

/// A hub and, mostly, an agent that serves the shared control plane under the name [`CLUSTER`].
pub(crate) struct Stand {
    pub(crate) agent: Option<AgentProcess>,
    pub(crate) hub: HubProcess,
    _dir: StateDir,
}

/// The shared bed, started by whoever asks first.
pub(crate) fn bed() -> &'static Bed {
    static BED: OnceLock<Bed> = OnceLock::new();
    BED.get_or_init(Bed::start)
}

/// The shared bed if it has a node; otherwise says that `test` is skipped.
pub(crate) fn bed_with_node(test: &str) -> Option<&'static Bed> {
    let bed = bed();
    match &bed.node {
        Ok(_) => Some(bed),
        Err(reason) => {
            skipped(test, reason);
            None
        }
    }
}

impl Bed {
    fn start() -> Self {
        // Past the capturing of output: the first build of Kubernetes takes minutes, and someone waits.
        let mut say = |line: &str| {
            std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n")).unwrap_or_default()
        };
        let binaries = Binaries::ensure(&mut say).expect("the test bed's programs");
        let mut options = Options::new("e2e");
        options.apiserver_args.push("--feature-gates=CBORServingAndStorage=true".to_owned());
        let plane = ControlPlane::start(&binaries, options).expect("a control plane");
        plane.apply(TIER_BINDINGS).expect("the tiers' bindings");
        let direct =
            format!("clusters: [{{name: {DIRECT}, backend: kubeconfig, kubeconfig: {:?}}}]\n", plane.kubeconfig_path());
        let (node, stand) = std::thread::scope(|scope| {
            let node = scope
                .spawn(|| Node::possible().and_then(|()| Node::start(&plane).map_err(|error| format!("{error:#}"))));
            let stand = Stand::start(&binaries, &plane, &direct);
            (node.join().expect("the node's thread"), stand)
        });
        // A node that is possible but does not start is a failure, not a reason to skip half of the suite.
        let node = match node {
            Err(reason) if Node::possible().is_ok() => panic!("the node does not start: {reason}"),
            node => node,
        };
        let metrics = node.as_ref().ok().map(|node| MetricsServer::start(&plane, node).expect("metrics-server"));
        Self { stand, _metrics: metrics, node, plane, binaries }
    }

    /// kubectl as the administrator, through the agent, in a new namespace whose name begins with `name`.
    pub(crate) fn namespace(&self, name: &str) -> Kubectl {
        let namespace = self.new_namespace(name);
        self.stand.kubectl(self, "admin", CLUSTER).in_namespace(&namespace)
    }

    /// A new namespace in which pods can be created.
    pub(crate) fn new_namespace(&self, name: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let namespace = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.plane.kubectl_ok(&["create", "namespace", &namespace]).unwrap();
        let account = ["get", "serviceaccount", "default", "-n", &namespace];
        wait_until("the namespace has its service account", PATIENCE, || {
            Ok(self.plane.kubectl(&account)?.status.success())
        })
        .unwrap();
        namespace
    }

    /// [`Bed::namespace`] in which the pod `web` is ready.
    pub(crate) fn web(&self, name: &str) -> Kubectl {
        let kubectl = self.namespace(name);
        kubectl.feed("apply -f -", WEB).ok();
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s");
        kubectl
    }

    /// The name of the node.
    pub(crate) fn node_name(&self) -> &str {
        self.node.as_ref().map_or("no node", Node::name)
    }

    /// The programs under test.
    pub(crate) fn programs() -> Programs {
        Programs::beside_us().expect("our programs are built")
    }
}

impl Stand {
    /// A hub and an agent of a test's own. `hub` is further YAML for the hub's configuration.
    pub(crate) fn of_its_own(bed: &Bed, hub: &str) -> Self {
        Self::start(&bed.binaries, &bed.plane, hub)
    }

    fn start(binaries: &Binaries, plane: &ControlPlane, extra: &str) -> Self {
        let options =
            HubOptions { extra: extra.to_owned(), kubectl: Some(binaries.kubectl()), ..HubOptions::default() };
        let mut stand = Self::hub_only(binaries, &options);
        stand.agent = Some(stand.enrol(binaries, CLUSTER, &plane.kubeconfig_path(), ""));
        stand.hub.wait_connected(CLUSTER, PATIENCE).expect("the agent connects");
        stand
    }

    /// A hub with its administrator signed in.
    pub(crate) fn hub_only(binaries: &Binaries, options: &HubOptions) -> Self {
        let dir = StateDir::create("e2e-hub").expect("a folder");
        let hub = HubProcess::start(&Bed::programs(), &binaries.leash(), dir.path(), options).expect("a hub");
        hub.login("admin", &hub.email, &hub.password).expect("the administrator signs in");
        Self { agent: None, hub, _dir: dir }
    }

    /// An agent for `cluster`, enrolled and started.
    pub(crate) fn enrol(&self, binaries: &Binaries, cluster: &str, kubeconfig: &Path, extra: &str) -> AgentProcess {
        AgentProcess::start(&Bed::programs(), &binaries.leash(), &self.hub, cluster, kubeconfig, extra)
            .expect("an agent")
    }

    /// The agent, for tests that do something to it.
    pub(crate) fn agent(&mut self) -> &mut AgentProcess {
        self.agent.as_mut().expect("this stand has an agent")
    }

    /// Unmodified kubectl as `user`, with a kubeconfig that `flotilla kubeconfig` made.
    pub(crate) fn kubectl(&self, bed: &Bed, user: &str, cluster: &str) -> Kubectl {
        Kubectl::new(&bed.binaries, &self.hub, user, cluster)
    }

    /// A folder of the stand's, which goes with it.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.hub.dir().join("scratch").join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        path
    }
}
