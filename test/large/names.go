package main

import (
	"fmt"
	"strings"
)

// Words of which Envoy's names consist.
var (
	namespaces = []string{"Http", "Server", "Upstream", "Network", "Config", "Router", "Extensions", "Event"}
	nouns      = []string{"ConnectionManager", "FilterFactory", "ClusterUpdateCallbacks", "SubscriptionImpl", "ListenerManagerImpl", "HeaderMatcher", "RetryPolicyImpl", "CodecClient",
		"LoadBalancerContext", "StreamDecoderFilter", "AccessLogInstance", "TransportSocketFactory", "ThreadLocalObject", "WatchMapEntry"}
	verbs = []string{"onUpdate", "decodeHeaders", "encodeTrailers", "createFilterChain", "onConfigUpdateFailed", "initialize", "onPoolReady", "chooseHost", "setCallbacks", "drainClose"}
)

func word(s string) string { return fmt.Sprint(len(s), s) }

func pick(words []string, i int) string { return words[i%len(words)] }

// method is the name of a function in its class.
func method(i int) string {
	if i%4 == 3 {
		return "_M_invoke"
	}
	return fmt.Sprint(pick(verbs, i), i)
}

func source(i int) string {
	return fmt.Sprintf("source/extensions/%s/%s_%d.cc", strings.ToLower(pick(namespaces, unit(i))), strings.ToLower(pick(nouns, unit(i))), unit(i))
}

// mangled is its name in the symbol table (Itanium C++ ABI, 5.1): methods of classes, of templates, and what calls a lambda in a
// std::function. No substitution is made use of.
func mangled(i int) string {
	class := fmt.Sprint(pick(nouns, i/16), i/16)
	in := "5Envoy" + word(pick(namespaces, i/256)) + word(class)
	const headers, text = "RKN5Envoy4Http16RequestHeaderMapE", "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
	hashMap := "N4absl12lts_2025012713flat_hash_mapI" + text + "St10unique_ptrIN5Envoy" + word(pick(namespaces, i)) + word(pick(nouns, i)) +
		"ESt14default_deleteIN5Envoy" + word(pick(namespaces, i)) + word(pick(nouns, i)) + "EEEEE"
	switch i % 4 {
	case 1, 2:
		return "_ZN" + in + "I" + hashMap + "N5Envoy5Event10DispatcherEE" + word(method(i)) + "E" + headers + "bRK" + text
	case 3:
		return "_ZNSt17_Function_handlerIFv" + headers + "EZN" + in + word(fmt.Sprint(pick(verbs, i), i)) + "E" + hashMap + "EUl" + headers + "E_E9_M_invokeERKSt9_Any_data" + headers
	}
	return "_ZN" + in + word(method(i)) + "E" + headers + "b"
}
