package accesslog

import (
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/envoyproxy/protoc-gen-validate/validate"
	"google.golang.org/protobuf/proto"
)

// The flags are those that Envoy's own API of this release has a filter for, no more and no less, and a field in its gRPC access logs for each
// of these.
func TestFlagsAreThoseOfTheAPI(t *testing.T) {
	field := (&accesslogv3.ResponseFlagFilter{}).ProtoReflect().Descriptor().Fields().ByName("flags")
	rules := proto.GetExtension(field.Options(), validate.E_Rules).(*validate.FieldRules)
	want := rules.GetRepeated().GetItems().GetString_().GetIn()
	if len(want) < 28 {
		t.Fatalf("the API has %d flags", len(want))
	}
	if len(Flags) != len(want) {
		t.Errorf("%d flags, not %d", len(Flags), len(want))
	}
	for i, name := range want {
		if f := FlagNamed(name); f.Fault == "" || f.Meaning == "" || f.Look == "" || FlagNamed(f.Long) != f {
			t.Errorf("%s: %+v", name, f)
		}
		if i < len(Flags) && Flags[i].Short != name {
			t.Errorf("flag %d is %s, not %s", i, Flags[i].Short, name)
		}
	}
	// Two have no field of their own in the data: DO and UDO.
	if n := (&datav3.ResponseFlags{}).ProtoReflect().Descriptor().Fields().Len(); n != len(Flags)-2 {
		t.Errorf("the gRPC access log has %d flags, here are %d", n, len(Flags))
	}
	if f := FlagNamed("XYZ"); f.Short != "XYZ" || f.Fault != "" || !f.Failed() {
		t.Errorf("%+v", f)
	}
}
