//! The manifest that installs an agent in its cluster, as text for `kubectl apply -f -`.
//!
//! Must not know: how tokens are made.

use crate::config::Config;

/// What each tier may do in a cluster: `ClusterRoles` of Kubernetes, and one of ours between `view` and `edit`.
pub const TIERS: &str = include_str!("tiers.yaml");

/// Namespace, service account, rights and Deployment of the agent of `cluster`.
///
/// The agent may impersonate people and groups, and keep its key and certificate in one Secret; nothing else. What
/// people may do is decided by the cluster's own RBAC, of which the tier bindings are the part that Flotilla brings
/// along. `system:` groups cannot be impersonated through the hub: the hub refuses them, and so does the agent.
///
/// The Secret `flotilla-agent-identity` is declared without data: applying the manifest again leaves alone what the
/// agent wrote there, and the agent needs no right to create Secrets.
#[must_use]
pub fn agent(config: &Config, cluster: &str, token: &str) -> String {
    let hub_url = config.agent_url();
    let image = &config.agents.image;
    format!(
        r#"apiVersion: v1
kind: Namespace
metadata: {{name: flotilla-system}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: flotilla-agent, namespace: flotilla-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: flotilla-agent}}
rules:
- {{apiGroups: [""], resources: [users, groups], verbs: [impersonate]}}
- {{nonResourceURLs: [/version], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: flotilla-agent}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: flotilla-agent}}
subjects: [{{kind: ServiceAccount, name: flotilla-agent, namespace: flotilla-system}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: flotilla-agent-identity, namespace: flotilla-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: flotilla-agent, namespace: flotilla-system}}
rules:
- {{apiGroups: [""], resources: [secrets], resourceNames: [flotilla-agent-identity], verbs: [get, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: flotilla-agent, namespace: flotilla-system}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: flotilla-agent}}
subjects: [{{kind: ServiceAccount, name: flotilla-agent, namespace: flotilla-system}}]
---
{TIERS}---
apiVersion: v1
kind: Secret
metadata: {{name: flotilla-agent, namespace: flotilla-system}}
stringData: {{token: "{token}"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: flotilla-agent, namespace: flotilla-system}}
spec:
  replicas: 1
  strategy: {{type: Recreate}}
  selector: {{matchLabels: {{app: flotilla-agent}}}}
  template:
    metadata: {{labels: {{app: flotilla-agent}}}}
    spec:
      serviceAccountName: flotilla-agent
      containers:
      - name: agent
        image: {image}
        env:
        - {{name: CENTRAL_URL, value: "{hub_url}"}}
        - {{name: CLUSTER_NAME, value: "{cluster}"}}
        - {{name: AGENT_TOKEN, valueFrom: {{secretKeyRef: {{name: flotilla-agent, key: token}}}}}}
        - {{name: FLOTILLA_AGENT__STATE_SECRET, value: flotilla-system/flotilla-agent-identity}}
        - {{name: FLOTILLA_AGENT__HEALTH__LISTEN, value: "0.0.0.0:8081"}}
        readinessProbe: {{httpGet: {{path: /readyz, port: 8081}}}}
        livenessProbe: {{httpGet: {{path: /healthz, port: 8081}}}}
        resources: {{requests: {{cpu: 20m, memory: 16Mi}}, limits: {{memory: 256Mi}}}}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          runAsUser: 65532
          capabilities: {{drop: [ALL]}}
          seccompProfile: {{type: RuntimeDefault}}
"#
    )
}
