// Where the schemas of other projects' custom resources come from: their own releases. Nothing is compiled.
module hivecore/crds

go 1.25.0

require (
	github.com/cert-manager/cert-manager v1.18.2
	github.com/cloudnative-pg/cloudnative-pg v1.28.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
