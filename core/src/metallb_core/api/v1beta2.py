"""The kind of `metallb.io/v1beta2`: BGPPeer. It is the form that is stored.

- v1beta1 and v1beta2 are one JSON: each field that both have has the same name and meaning, so the API server converts by changing `apiVersion`,
  and an object of either version decodes here. A v1beta1 object may lack what v1beta2 defaults, and may have a port of 0.
- Bounds are additions of the definition, not of the struct: an object that was stored under looser rules has to decode.
- A password is never shown.
"""

from typing import Annotated

import msgspec

from metallb_core.api import meta

VERSION = "v1beta2"

Doc = msgspec.Meta


class SecretReference(meta.Wire, frozen=True):
    """The Secret of type kubernetes.io/basic-auth, in the namespace of the speakers, that holds the password."""

    name: Annotated[str, Doc(description="Name of the Secret.")] = ""
    namespace: Annotated[str, Doc(description="Accepted and not read: the Secret is looked up by its name.")] = ""


class BGPPeerSpec(meta.Wire, frozen=True):
    """The router, and how sessions with it are held."""

    my_asn: Annotated[int, Doc(description="The autonomous system of the nodes.")] = msgspec.field(name="myASN")
    peer_asn: Annotated[
        int, Doc(description="The autonomous system of the peer. Either this or `dynamicASN` is needed.")
    ] = msgspec.field(default=0, name="peerASN")
    local_asn: Annotated[
        int | None,
        Doc(description="The autonomous system shown to this peer in place of `myASN`; unset means `myASN`."),
    ] = msgspec.field(default=None, name="localASN")
    dynamic_asn: Annotated[
        str,
        Doc(
            description="The peer's autonomous system is learned from it: `internal` takes that of the nodes, `external` any other."
        ),
    ] = msgspec.field(default="", name="dynamicASN")
    peer_address: Annotated[str, Doc(description="IP address of the peer. Either this or `interface` is needed.")] = ""
    interface: Annotated[
        str,
        Doc(
            description="The nodes' interface on which the peer is found by its router advertisements (unnumbered BGP)."
        ),
    ] = ""
    source_address: Annotated[str, Doc(description="IP address that the session is opened from.")] = ""
    peer_port: Annotated[int | None, Doc(description="TCP port of the peer.")] = None
    hold_time: Annotated[
        str | None,
        Doc(description="Hold time, such as 90s: 0s, or 3s to 65535s. Unset means three times `keepaliveTime`."),
    ] = None
    keepalive_time: Annotated[
        str | None, Doc(description="Time between keepalives, such as 30s. Unset means a third of `holdTime`.")
    ] = None
    connect_time: Annotated[
        str | None, Doc(description="Time between attempts to connect, in whole seconds, 1s to 65535s.")
    ] = None
    router_id: Annotated[str, Doc(description="The BGP identifier of the node, written as an IPv4 address.")] = (
        msgspec.field(default="", name="routerID")
    )
    node_selectors: Annotated[
        list[meta.LabelSelector] | None,
        Doc(description="Nodes that have a session with the peer; unset means every node."),
    ] = None
    password: Annotated[
        str, Doc(description="Password of the TCP session (TCP MD5), in clear; `passwordSecret` keeps it out of sight.")
    ] = ""
    password_secret: Annotated[
        SecretReference | None, Doc(description="The Secret that holds the password under the key `password`.")
    ] = None
    bfd_profile: Annotated[
        str, Doc(description="Name of the BFDProfile by which a dead path is noticed; unset means no BFD.")
    ] = ""
    enable_graceful_restart: Annotated[
        bool | None,
        Doc(description="Whether the peer keeps forwarding while a speaker restarts. Not to be changed later."),
    ] = None
    ebgp_multi_hop: Annotated[bool, Doc(description="Whether the peer is more than one hop away.")] = False
    vrf: Annotated[str, Doc(description="The nodes' VRF in which the peer is reached.")] = ""
    disable_mp: Annotated[bool, Doc(description="Deprecated and without effect; see `dualStackAddressFamily`.")] = (
        msgspec.field(default=False, name="disableMP")
    )
    dual_stack_address_family: Annotated[
        bool, Doc(description="Whether the session carries IPv4 and IPv6 prefixes, whichever family it runs over.")
    ] = False

    def __repr__(self) -> str:
        return meta.repr_without(self, "password")


class BGPPeer(meta.Wire, frozen=True):
    """A router that is told over BGP how to reach the addresses of Services."""

    metadata: meta.ObjectMeta
    spec: BGPPeerSpec
