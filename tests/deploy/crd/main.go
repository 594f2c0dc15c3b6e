// Reads custom resources into their operators' own types and refuses fields that these do not have.
//
// Input: YAML documents on standard input. Prints a line for each that is wrong, then how many of
// each kind it has read; ends with 1 if any was wrong.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

func typed(of v1.TypeMeta) any {
	switch of.APIVersion + "/" + of.Kind {
	case "keda.sh/v1alpha1/ScaledObject":
		return &keda.ScaledObject{}
	case "keda.sh/v1alpha1/TriggerAuthentication":
		return &keda.TriggerAuthentication{}
	case "monitoring.coreos.com/v1/ServiceMonitor":
		return &monitoring.ServiceMonitor{}
	case "monitoring.coreos.com/v1/PrometheusRule":
		return &monitoring.PrometheusRule{}
	}
	return nil
}

// What the types cannot say: triggers that KEDA itself would refuse.
func check(resource any) error {
	scaled, is := resource.(*keda.ScaledObject)
	if !is {
		return nil
	}
	if err := keda.ValidateTriggers(scaled.Spec.Triggers); err != nil {
		return err
	}
	return keda.CheckReplicaCountBoundsAreValid(scaled)
}

func main() {
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	read, wrong := map[string]int{}, 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var kind v1.TypeMeta
		if err == nil {
			err = strict.Unmarshal(document, &kind)
		}
		resource := typed(kind)
		if err == nil && resource == nil {
			continue
		}
		if err == nil {
			err = strict.UnmarshalStrict(document, resource)
		}
		if err == nil {
			err = check(resource)
		}
		if err != nil {
			fmt.Printf("%s: %v\n", kind.Kind, err)
			wrong++
		}
		read[kind.Kind]++
	}
	fmt.Println("read", read)
	if wrong > 0 {
		os.Exit(1)
	}
}
