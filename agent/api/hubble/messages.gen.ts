// Generated from proto/ by generate.ts; do not edit.
// biome-ignore-all format: one line per file of diff is enough
export const MESSAGES = {
 "nested": {
  "flow": {
   "nested": {
    "Flow": {
     "fields": {
      "time": {
       "type": "google.protobuf.Timestamp",
       "id": 1
      },
      "verdict": {
       "type": "Verdict",
       "id": 2
      },
      "drop_reason": {
       "type": "uint32",
       "id": 3
      },
      "IP": {
       "type": "IP",
       "id": 5
      },
      "l4": {
       "type": "Layer4",
       "id": 6
      },
      "source": {
       "type": "Endpoint",
       "id": 8
      },
      "destination": {
       "type": "Endpoint",
       "id": 9
      },
      "Type": {
       "type": "FlowType",
       "id": 10
      },
      "node_name": {
       "type": "string",
       "id": 11
      },
      "event_type": {
       "type": "CiliumEventType",
       "id": 19
      },
      "source_service": {
       "type": "Service",
       "id": 20
      },
      "destination_service": {
       "type": "Service",
       "id": 21
      },
      "traffic_direction": {
       "type": "TrafficDirection",
       "id": 22
      },
      "policy_match_type": {
       "type": "uint32",
       "id": 23
      },
      "trace_observation_point": {
       "type": "TraceObservationPoint",
       "id": 24
      },
      "drop_reason_desc": {
       "type": "DropReason",
       "id": 25
      },
      "is_reply": {
       "type": "google.protobuf.BoolValue",
       "id": 26
      },
      "interface": {
       "type": "NetworkInterface",
       "id": 28
      },
      "uuid": {
       "type": "string",
       "id": 34
      },
      "trace_reason": {
       "type": "TraceReason",
       "id": 36
      },
      "node_labels": {
       "rule": "repeated",
       "type": "string",
       "id": 37
      },
      "emitter": {
       "type": "Emitter",
       "id": 41
      },
      "egress_allowed_by": {
       "rule": "repeated",
       "type": "Policy",
       "id": 21001
      },
      "ingress_allowed_by": {
       "rule": "repeated",
       "type": "Policy",
       "id": 21002
      },
      "egress_denied_by": {
       "rule": "repeated",
       "type": "Policy",
       "id": 21004
      },
      "ingress_denied_by": {
       "rule": "repeated",
       "type": "Policy",
       "id": 21005
      },
      "policy_log": {
       "rule": "repeated",
       "type": "string",
       "id": 21006
      },
      "Summary": {
       "type": "string",
       "id": 100000
      },
      "extensions": {
       "type": "google.protobuf.Any",
       "id": 150000
      },
      "ethernet": {
       "type": "Unfilled",
       "id": 4
      },
      "source_names": {
       "type": "Unfilled",
       "id": 13
      },
      "destination_names": {
       "type": "Unfilled",
       "id": 14
      },
      "l7": {
       "type": "Unfilled",
       "id": 15
      },
      "reply": {
       "type": "Unfilled",
       "id": 16
      },
      "debug_capture_point": {
       "type": "Unfilled",
       "id": 27
      },
      "proxy_port": {
       "type": "Unfilled",
       "id": 29
      },
      "trace_context": {
       "type": "Unfilled",
       "id": 30
      },
      "sock_xlate_point": {
       "type": "Unfilled",
       "id": 31
      },
      "socket_cookie": {
       "type": "Unfilled",
       "id": 32
      },
      "cgroup_id": {
       "type": "Unfilled",
       "id": 33
      },
      "auth_type": {
       "type": "Unfilled",
       "id": 35
      },
      "file": {
       "type": "Unfilled",
       "id": 38
      },
      "tunnel": {
       "type": "Unfilled",
       "id": 39
      },
      "ip_trace_id": {
       "type": "Unfilled",
       "id": 40
      },
      "aggregate": {
       "type": "Unfilled",
       "id": 21007
      }
     }
    },
    "Unfilled": {
     "fields": {}
    },
    "Verdict": {
     "values": {
      "VERDICT_UNKNOWN": 0,
      "FORWARDED": 1,
      "DROPPED": 2,
      "ERROR": 3,
      "AUDIT": 4,
      "REDIRECTED": 5,
      "TRACED": 6,
      "TRANSLATED": 7
     }
    },
    "FlowType": {
     "values": {
      "UNKNOWN_TYPE": 0,
      "L3_L4": 1,
      "L7": 2,
      "SOCK": 3
     }
    },
    "TrafficDirection": {
     "values": {
      "TRAFFIC_DIRECTION_UNKNOWN": 0,
      "INGRESS": 1,
      "EGRESS": 2
     }
    },
    "TraceObservationPoint": {
     "values": {
      "UNKNOWN_POINT": 0,
      "TO_STACK": 3,
      "TO_ENDPOINT": 101
     }
    },
    "TraceReason": {
     "values": {
      "TRACE_REASON_UNKNOWN": 0,
      "NEW": 1,
      "ESTABLISHED": 2,
      "REPLY": 3,
      "RELATED": 4
     }
    },
    "DropReason": {
     "values": {
      "DROP_REASON_UNKNOWN": 0
     }
    },
    "Emitter": {
     "fields": {
      "name": {
       "type": "string",
       "id": 1
      },
      "version": {
       "type": "string",
       "id": 2
      }
     }
    },
    "IPVersion": {
     "values": {
      "IP_NOT_USED": 0,
      "IPv4": 1,
      "IPv6": 2
     }
    },
    "IP": {
     "fields": {
      "source": {
       "type": "string",
       "id": 1
      },
      "destination": {
       "type": "string",
       "id": 2
      },
      "ipVersion": {
       "type": "IPVersion",
       "id": 3
      },
      "encrypted": {
       "type": "bool",
       "id": 4
      },
      "source_xlated": {
       "type": "string",
       "id": 5
      }
     }
    },
    "Layer4": {
     "oneofs": {
      "protocol": {
       "oneof": [
        "TCP",
        "UDP",
        "ICMPv4",
        "ICMPv6",
        "SCTP",
        "VRRP",
        "IGMP"
       ]
      }
     },
     "fields": {
      "TCP": {
       "type": "TCP",
       "id": 1
      },
      "UDP": {
       "type": "UDP",
       "id": 2
      },
      "ICMPv4": {
       "type": "ICMPv4",
       "id": 3
      },
      "ICMPv6": {
       "type": "ICMPv6",
       "id": 4
      },
      "SCTP": {
       "type": "SCTP",
       "id": 5
      },
      "VRRP": {
       "type": "VRRP",
       "id": 6
      },
      "IGMP": {
       "type": "IGMP",
       "id": 7
      }
     }
    },
    "TCP": {
     "fields": {
      "source_port": {
       "type": "uint32",
       "id": 1
      },
      "destination_port": {
       "type": "uint32",
       "id": 2
      },
      "flags": {
       "type": "TCPFlags",
       "id": 3
      }
     }
    },
    "TCPFlags": {
     "fields": {
      "FIN": {
       "type": "bool",
       "id": 1
      },
      "SYN": {
       "type": "bool",
       "id": 2
      },
      "RST": {
       "type": "bool",
       "id": 3
      },
      "PSH": {
       "type": "bool",
       "id": 4
      },
      "ACK": {
       "type": "bool",
       "id": 5
      },
      "URG": {
       "type": "bool",
       "id": 6
      },
      "ECE": {
       "type": "bool",
       "id": 7
      },
      "CWR": {
       "type": "bool",
       "id": 8
      },
      "NS": {
       "type": "bool",
       "id": 9
      }
     }
    },
    "UDP": {
     "fields": {
      "source_port": {
       "type": "uint32",
       "id": 1
      },
      "destination_port": {
       "type": "uint32",
       "id": 2
      }
     }
    },
    "SCTP": {
     "fields": {
      "source_port": {
       "type": "uint32",
       "id": 1
      },
      "destination_port": {
       "type": "uint32",
       "id": 2
      }
     }
    },
    "VRRP": {
     "fields": {}
    },
    "IGMP": {
     "fields": {}
    },
    "ICMPv4": {
     "fields": {
      "type": {
       "type": "uint32",
       "id": 1
      },
      "code": {
       "type": "uint32",
       "id": 2
      }
     }
    },
    "ICMPv6": {
     "fields": {
      "type": {
       "type": "uint32",
       "id": 1
      },
      "code": {
       "type": "uint32",
       "id": 2
      }
     }
    },
    "Endpoint": {
     "fields": {
      "ID": {
       "type": "uint32",
       "id": 1
      },
      "identity": {
       "type": "uint32",
       "id": 2
      },
      "namespace": {
       "type": "string",
       "id": 3
      },
      "labels": {
       "rule": "repeated",
       "type": "string",
       "id": 4
      },
      "pod_name": {
       "type": "string",
       "id": 5
      },
      "workloads": {
       "rule": "repeated",
       "type": "Workload",
       "id": 6
      },
      "cluster_name": {
       "type": "string",
       "id": 7
      }
     }
    },
    "Workload": {
     "fields": {
      "name": {
       "type": "string",
       "id": 1
      },
      "kind": {
       "type": "string",
       "id": 2
      }
     }
    },
    "Service": {
     "fields": {
      "name": {
       "type": "string",
       "id": 1
      },
      "namespace": {
       "type": "string",
       "id": 2
      }
     }
    },
    "NetworkInterface": {
     "fields": {
      "index": {
       "type": "uint32",
       "id": 1
      },
      "name": {
       "type": "string",
       "id": 2
      }
     }
    },
    "Policy": {
     "fields": {
      "name": {
       "type": "string",
       "id": 1
      },
      "namespace": {
       "type": "string",
       "id": 2
      },
      "labels": {
       "rule": "repeated",
       "type": "string",
       "id": 3
      },
      "revision": {
       "type": "uint64",
       "id": 4
      },
      "kind": {
       "type": "string",
       "id": 5
      }
     }
    },
    "CiliumEventType": {
     "fields": {
      "type": {
       "type": "int32",
       "id": 1
      },
      "sub_type": {
       "type": "int32",
       "id": 2
      }
     }
    },
    "LostEventSource": {
     "values": {
      "UNKNOWN_LOST_EVENT_SOURCE": 0,
      "PERF_EVENT_RING_BUFFER": 1,
      "OBSERVER_EVENTS_QUEUE": 2,
      "HUBBLE_RING_BUFFER": 3
     }
    },
    "LostEvent": {
     "fields": {
      "source": {
       "type": "LostEventSource",
       "id": 1
      },
      "num_events_lost": {
       "type": "uint64",
       "id": 2
      }
     }
    },
    "FlowFilter": {
     "fields": {
      "source_ip": {
       "rule": "repeated",
       "type": "string",
       "id": 1
      },
      "source_pod": {
       "rule": "repeated",
       "type": "string",
       "id": 2
      },
      "destination_ip": {
       "rule": "repeated",
       "type": "string",
       "id": 3
      },
      "destination_pod": {
       "rule": "repeated",
       "type": "string",
       "id": 4
      },
      "verdict": {
       "rule": "repeated",
       "type": "Verdict",
       "id": 5
      },
      "event_type": {
       "rule": "repeated",
       "type": "EventTypeFilter",
       "id": 6
      },
      "source_fqdn": {
       "rule": "repeated",
       "type": "string",
       "id": 7
      },
      "destination_fqdn": {
       "rule": "repeated",
       "type": "string",
       "id": 8
      },
      "http_status_code": {
       "rule": "repeated",
       "type": "string",
       "id": 9
      },
      "source_label": {
       "rule": "repeated",
       "type": "string",
       "id": 10
      },
      "destination_label": {
       "rule": "repeated",
       "type": "string",
       "id": 11
      },
      "protocol": {
       "rule": "repeated",
       "type": "string",
       "id": 12
      },
      "source_port": {
       "rule": "repeated",
       "type": "string",
       "id": 13
      },
      "destination_port": {
       "rule": "repeated",
       "type": "string",
       "id": 14
      },
      "reply": {
       "rule": "repeated",
       "type": "bool",
       "id": 15
      },
      "source_service": {
       "rule": "repeated",
       "type": "string",
       "id": 16
      },
      "destination_service": {
       "rule": "repeated",
       "type": "string",
       "id": 17
      },
      "dns_query": {
       "rule": "repeated",
       "type": "string",
       "id": 18
      },
      "source_identity": {
       "rule": "repeated",
       "type": "uint32",
       "id": 19
      },
      "destination_identity": {
       "rule": "repeated",
       "type": "uint32",
       "id": 20
      },
      "http_method": {
       "rule": "repeated",
       "type": "string",
       "id": 21
      },
      "http_path": {
       "rule": "repeated",
       "type": "string",
       "id": 22
      },
      "tcp_flags": {
       "rule": "repeated",
       "type": "TCPFlags",
       "id": 23
      },
      "node_name": {
       "rule": "repeated",
       "type": "string",
       "id": 24
      },
      "ip_version": {
       "rule": "repeated",
       "type": "IPVersion",
       "id": 25
      },
      "source_workload": {
       "rule": "repeated",
       "type": "Workload",
       "id": 26
      },
      "destination_workload": {
       "rule": "repeated",
       "type": "Workload",
       "id": 27
      },
      "trace_id": {
       "rule": "repeated",
       "type": "string",
       "id": 28
      },
      "uuid": {
       "rule": "repeated",
       "type": "string",
       "id": 29
      },
      "traffic_direction": {
       "rule": "repeated",
       "type": "TrafficDirection",
       "id": 30
      },
      "http_url": {
       "rule": "repeated",
       "type": "string",
       "id": 31
      },
      "http_header": {
       "rule": "repeated",
       "type": "google.protobuf.Any",
       "id": 32
      },
      "drop_reason_desc": {
       "rule": "repeated",
       "type": "DropReason",
       "id": 33
      },
      "source_ip_xlated": {
       "rule": "repeated",
       "type": "string",
       "id": 34
      },
      "interface": {
       "rule": "repeated",
       "type": "NetworkInterface",
       "id": 35
      },
      "node_labels": {
       "rule": "repeated",
       "type": "string",
       "id": 36
      },
      "source_cluster_name": {
       "rule": "repeated",
       "type": "string",
       "id": 37
      },
      "destination_cluster_name": {
       "rule": "repeated",
       "type": "string",
       "id": 38
      },
      "ip_trace_id": {
       "rule": "repeated",
       "type": "uint64",
       "id": 39
      },
      "encrypted": {
       "rule": "repeated",
       "type": "bool",
       "id": 40
      },
      "experimental": {
       "type": "Experimental",
       "id": 999
      }
     },
     "nested": {
      "Experimental": {
       "fields": {
        "cel_expression": {
         "rule": "repeated",
         "type": "string",
         "id": 1
        }
       }
      }
     }
    },
    "EventTypeFilter": {
     "fields": {
      "type": {
       "type": "int32",
       "id": 1
      },
      "match_sub_type": {
       "type": "bool",
       "id": 2
      },
      "sub_type": {
       "type": "int32",
       "id": 3
      }
     }
    },
    "AgentEventType": {
     "values": {
      "AGENT_EVENT_UNKNOWN": 0,
      "AGENT_STARTED": 2,
      "POLICY_UPDATED": 3,
      "POLICY_DELETED": 4,
      "ENDPOINT_REGENERATE_SUCCESS": 5,
      "ENDPOINT_REGENERATE_FAILURE": 6,
      "ENDPOINT_CREATED": 7,
      "ENDPOINT_DELETED": 8,
      "IPCACHE_UPSERTED": 9,
      "IPCACHE_DELETED": 10
     }
    },
    "AgentEvent": {
     "oneofs": {
      "notification": {
       "oneof": [
        "agent_start",
        "policy_update",
        "endpoint_regenerate",
        "endpoint_update",
        "ipcache_update"
       ]
      }
     },
     "fields": {
      "type": {
       "type": "AgentEventType",
       "id": 1
      },
      "agent_start": {
       "type": "TimeNotification",
       "id": 101
      },
      "policy_update": {
       "type": "PolicyUpdateNotification",
       "id": 102
      },
      "endpoint_regenerate": {
       "type": "EndpointRegenNotification",
       "id": 103
      },
      "endpoint_update": {
       "type": "EndpointUpdateNotification",
       "id": 104
      },
      "ipcache_update": {
       "type": "IPCacheNotification",
       "id": 105
      }
     }
    },
    "TimeNotification": {
     "fields": {
      "time": {
       "type": "google.protobuf.Timestamp",
       "id": 1
      }
     }
    },
    "PolicyUpdateNotification": {
     "fields": {
      "labels": {
       "rule": "repeated",
       "type": "string",
       "id": 1
      },
      "revision": {
       "type": "uint64",
       "id": 2
      },
      "rule_count": {
       "type": "int64",
       "id": 3
      }
     }
    },
    "EndpointRegenNotification": {
     "fields": {
      "id": {
       "type": "uint64",
       "id": 1
      },
      "labels": {
       "rule": "repeated",
       "type": "string",
       "id": 2
      },
      "error": {
       "type": "string",
       "id": 3
      }
     }
    },
    "IPCacheNotification": {
     "fields": {
      "cidr": {
       "type": "string",
       "id": 1
      },
      "identity": {
       "type": "uint32",
       "id": 2
      },
      "old_identity": {
       "type": "google.protobuf.UInt32Value",
       "id": 3
      },
      "namespace": {
       "type": "string",
       "id": 7
      },
      "pod_name": {
       "type": "string",
       "id": 8
      }
     }
    },
    "EndpointUpdateNotification": {
     "fields": {
      "id": {
       "type": "uint64",
       "id": 1
      },
      "labels": {
       "rule": "repeated",
       "type": "string",
       "id": 2
      },
      "error": {
       "type": "string",
       "id": 3
      },
      "pod_name": {
       "type": "string",
       "id": 4
      },
      "namespace": {
       "type": "string",
       "id": 5
      }
     }
    }
   }
  },
  "observer": {
   "nested": {
    "Observer": {
     "methods": {
      "GetFlows": {
       "requestType": "GetFlowsRequest",
       "responseType": "GetFlowsResponse",
       "responseStream": true
      },
      "GetAgentEvents": {
       "requestType": "GetAgentEventsRequest",
       "responseType": "GetAgentEventsResponse",
       "responseStream": true
      },
      "GetDebugEvents": {
       "requestType": "Unserved",
       "responseType": "Unserved",
       "responseStream": true
      },
      "GetNodes": {
       "requestType": "Unserved",
       "responseType": "Unserved"
      },
      "GetNamespaces": {
       "requestType": "GetNamespacesRequest",
       "responseType": "GetNamespacesResponse"
      },
      "ServerStatus": {
       "requestType": "ServerStatusRequest",
       "responseType": "ServerStatusResponse"
      }
     }
    },
    "Unserved": {
     "fields": {}
    },
    "GetFlowsRequest": {
     "fields": {
      "number": {
       "type": "uint64",
       "id": 1
      },
      "follow": {
       "type": "bool",
       "id": 3
      },
      "blacklist": {
       "rule": "repeated",
       "type": "flow.FlowFilter",
       "id": 5
      },
      "whitelist": {
       "rule": "repeated",
       "type": "flow.FlowFilter",
       "id": 6
      },
      "since": {
       "type": "google.protobuf.Timestamp",
       "id": 7
      },
      "until": {
       "type": "google.protobuf.Timestamp",
       "id": 8
      },
      "first": {
       "type": "bool",
       "id": 9
      },
      "field_mask": {
       "type": "google.protobuf.FieldMask",
       "id": 10
      },
      "experimental": {
       "type": "Experimental",
       "id": 999
      },
      "extensions": {
       "type": "google.protobuf.Any",
       "id": 150000
      }
     },
     "nested": {
      "Experimental": {
       "fields": {}
      }
     }
    },
    "GetFlowsResponse": {
     "oneofs": {
      "response_types": {
       "oneof": [
        "flow",
        "lost_events"
       ]
      }
     },
     "fields": {
      "flow": {
       "type": "flow.Flow",
       "id": 1
      },
      "lost_events": {
       "type": "flow.LostEvent",
       "id": 3
      },
      "node_name": {
       "type": "string",
       "id": 1000
      },
      "time": {
       "type": "google.protobuf.Timestamp",
       "id": 1001
      }
     }
    },
    "GetAgentEventsRequest": {
     "fields": {
      "number": {
       "type": "uint64",
       "id": 1
      },
      "follow": {
       "type": "bool",
       "id": 2
      },
      "since": {
       "type": "google.protobuf.Timestamp",
       "id": 7
      },
      "until": {
       "type": "google.protobuf.Timestamp",
       "id": 8
      },
      "first": {
       "type": "bool",
       "id": 9
      }
     }
    },
    "GetAgentEventsResponse": {
     "fields": {
      "agent_event": {
       "type": "flow.AgentEvent",
       "id": 1
      },
      "node_name": {
       "type": "string",
       "id": 1000
      },
      "time": {
       "type": "google.protobuf.Timestamp",
       "id": 1001
      }
     }
    },
    "GetNamespacesRequest": {
     "fields": {}
    },
    "GetNamespacesResponse": {
     "fields": {
      "namespaces": {
       "rule": "repeated",
       "type": "Namespace",
       "id": 1
      }
     }
    },
    "Namespace": {
     "fields": {
      "cluster": {
       "type": "string",
       "id": 1
      },
      "namespace": {
       "type": "string",
       "id": 2
      }
     }
    },
    "ServerStatusRequest": {
     "fields": {}
    },
    "ServerStatusResponse": {
     "fields": {
      "num_flows": {
       "type": "uint64",
       "id": 1
      },
      "max_flows": {
       "type": "uint64",
       "id": 2
      },
      "seen_flows": {
       "type": "uint64",
       "id": 3
      },
      "uptime_ns": {
       "type": "uint64",
       "id": 4
      },
      "version": {
       "type": "string",
       "id": 8
      },
      "flows_rate": {
       "type": "double",
       "id": 9
      }
     }
    }
   }
  },
  "google": {
   "nested": {
    "protobuf": {
     "nested": {
      "Any": {
       "fields": {
        "type_url": {
         "type": "string",
         "id": 1
        },
        "value": {
         "type": "bytes",
         "id": 2
        }
       }
      },
      "Struct": {
       "fields": {
        "fields": {
         "keyType": "string",
         "type": "Value",
         "id": 1
        }
       }
      },
      "Value": {
       "oneofs": {
        "kind": {
         "oneof": [
          "nullValue",
          "numberValue",
          "stringValue",
          "boolValue",
          "structValue",
          "listValue"
         ]
        }
       },
       "fields": {
        "nullValue": {
         "type": "NullValue",
         "id": 1,
         "protoName": "null_value"
        },
        "numberValue": {
         "type": "double",
         "id": 2,
         "protoName": "number_value"
        },
        "stringValue": {
         "type": "string",
         "id": 3,
         "protoName": "string_value"
        },
        "boolValue": {
         "type": "bool",
         "id": 4,
         "protoName": "bool_value"
        },
        "structValue": {
         "type": "Struct",
         "id": 5,
         "protoName": "struct_value"
        },
        "listValue": {
         "type": "ListValue",
         "id": 6,
         "protoName": "list_value"
        }
       }
      },
      "NullValue": {
       "values": {
        "NULL_VALUE": 0
       }
      },
      "ListValue": {
       "fields": {
        "values": {
         "rule": "repeated",
         "type": "Value",
         "id": 1
        }
       }
      },
      "Timestamp": {
       "fields": {
        "seconds": {
         "type": "int64",
         "id": 1
        },
        "nanos": {
         "type": "int32",
         "id": 2
        }
       }
      },
      "DoubleValue": {
       "fields": {
        "value": {
         "type": "double",
         "id": 1
        }
       }
      },
      "FloatValue": {
       "fields": {
        "value": {
         "type": "float",
         "id": 1
        }
       }
      },
      "Int64Value": {
       "fields": {
        "value": {
         "type": "int64",
         "id": 1
        }
       }
      },
      "UInt64Value": {
       "fields": {
        "value": {
         "type": "uint64",
         "id": 1
        }
       }
      },
      "Int32Value": {
       "fields": {
        "value": {
         "type": "int32",
         "id": 1
        }
       }
      },
      "UInt32Value": {
       "fields": {
        "value": {
         "type": "uint32",
         "id": 1
        }
       }
      },
      "BoolValue": {
       "fields": {
        "value": {
         "type": "bool",
         "id": 1
        }
       }
      },
      "StringValue": {
       "fields": {
        "value": {
         "type": "string",
         "id": 1
        }
       }
      },
      "BytesValue": {
       "fields": {
        "value": {
         "type": "bytes",
         "id": 1
        }
       }
      },
      "FieldMask": {
       "fields": {
        "paths": {
         "rule": "repeated",
         "type": "string",
         "id": 1
        }
       }
      }
     }
    }
   }
  },
  "peer": {
   "nested": {
    "Peer": {
     "methods": {
      "Notify": {
       "requestType": "NotifyRequest",
       "responseType": "ChangeNotification",
       "responseStream": true
      }
     }
    },
    "NotifyRequest": {
     "fields": {}
    },
    "ChangeNotification": {
     "fields": {
      "name": {
       "type": "string",
       "id": 1
      },
      "address": {
       "type": "string",
       "id": 2
      },
      "type": {
       "type": "ChangeNotificationType",
       "id": 3
      },
      "tls": {
       "type": "TLS",
       "id": 4
      }
     }
    },
    "ChangeNotificationType": {
     "values": {
      "UNKNOWN": 0,
      "PEER_ADDED": 1,
      "PEER_DELETED": 2,
      "PEER_UPDATED": 3
     }
    },
    "TLS": {
     "fields": {
      "server_name": {
       "type": "string",
       "id": 1
      }
     }
    }
   }
  },
  "grpc": {
   "nested": {
    "health": {
     "nested": {
      "v1": {
       "nested": {
        "Health": {
         "methods": {
          "Check": {
           "requestType": "HealthCheckRequest",
           "responseType": "HealthCheckResponse"
          },
          "Watch": {
           "requestType": "HealthCheckRequest",
           "responseType": "HealthCheckResponse",
           "responseStream": true
          }
         }
        },
        "HealthCheckRequest": {
         "fields": {
          "service": {
           "type": "string",
           "id": 1
          }
         }
        },
        "HealthCheckResponse": {
         "fields": {
          "status": {
           "type": "ServingStatus",
           "id": 1
          }
         },
         "nested": {
          "ServingStatus": {
           "values": {
            "UNKNOWN": 0,
            "SERVING": 1,
            "NOT_SERVING": 2,
            "SERVICE_UNKNOWN": 3
           }
          }
         }
        }
       }
      }
     }
    }
   }
  }
 }
};
