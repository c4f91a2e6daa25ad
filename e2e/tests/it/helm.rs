//! Unmodified Helm through the gateway, with a chart made on the spot.

use crate::bed::bed;

const CHART: &str = "apiVersion: v2\nname: sail\nversion: 0.1.0\n";
const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-settings'}\ndata: {colour: '{{ .Values.colour }}', made: '{{ .Release.Revision }}'}\n";

#[test]
fn a_release_is_installed_upgraded_rolled_back_and_removed() {
    let bed = bed();
    let kubectl = bed.namespace("helm");
    let chart = bed.stand.scratch("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), CHART).unwrap();
    std::fs::write(chart.join("values.yaml"), "colour: blue\n").unwrap();
    std::fs::write(chart.join("templates/settings.yaml"), TEMPLATE).unwrap();
    let chart = chart.to_str().unwrap();
    let colour = || kubectl.ok("get configmap ship-settings -o jsonpath={.data.colour}");

    let installed = kubectl.helm(["install", "ship", chart]);
    assert!(installed.contains("STATUS: deployed"), "{installed}");
    assert_eq!(colour(), "blue");
    assert!(kubectl.helm("list").contains("sail-0.1.0"));
    kubectl.helm(["upgrade", "ship", chart, "--set", "colour=green"]);
    assert_eq!(colour(), "green");
    kubectl.helm("rollback ship 1");
    assert_eq!(colour(), "blue");
    let history = kubectl.helm("history ship");
    assert!(history.contains("Rollback to 1"), "{history}");
    assert!(kubectl.helm("get manifest ship").contains("ship-settings"));
    kubectl.helm("uninstall ship --wait");
    assert!(kubectl.refused("get configmap ship-settings").contains("not found"));
    assert!(!kubectl.helm("list").contains("sail"));
}
