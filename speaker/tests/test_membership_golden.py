"""Bytes that hashicorp/memberlist v0.5.1 put on the wire, read and written again.

hack/tools/memberlist/capture.py prints them afresh: a peer named "go" at 127.0.0.71:17980 talks to a bare member named "raw"
at 127.0.0.72:17980. The secret is "golden secret", the label of the labelled ones "blue".
"""

import pytest

from metallb_speaker.membership import aead, encryption, envelope, lzw, messages, msgpack, streams

_SAMPLES = {
    "plain stream PushPull": (
        "0683a44a6f696ec3a54e6f64657301ac5573657253746174654c656e0a87a441646472a47f000047ab496e6361726e617469"
        "6f6e01a44d657461ab636f6c6f75723d626c7565a44e616d65a2676fa4506f7274cd463ca5537461746500a356736ea60105"
        "0200000075736572207374617465"
    ),
    "plain packet ALIVE+ALIVE": (
        "0cb9caf58907020045003b0486a441646472a47f000047ab496e6361726e6174696f6e01a44d657461ab636f6c6f75723d62"
        "6c7565a44e6f6465a2676fa4506f7274cd463ca356736ea60105020000000486a441646472a47f000048ab496e6361726e61"
        "74696f6e01a44d657461c0a44e6f6465a3726177a4506f7274cd463ca356736ea6010502000000"
    ),
    "plain packet PING+ALIVE+ALIVE": (
        "0703003e0045003b0085a44e6f6465a3726177a55365714e6f01aa536f7572636541646472a47f000047aa536f757263654e"
        "6f6465a2676faa536f75726365506f7274cd463c0486a441646472a47f000047ab496e6361726e6174696f6e01a44d657461"
        "ab636f6c6f75723d626c7565a44e6f6465a2676fa4506f7274cd463ca356736ea60105020000000486a441646472a47f0000"
        "48ab496e6361726e6174696f6e01a44d657461c0a44e6f6465a3726177a4506f7274cd463ca356736ea6010502000000"
    ),
    "plain stream Ping": (
        "0085a44e6f6465a3726177a55365714e6f01aa536f7572636541646472a47f000047aa536f757263654e6f6465a2676faa53"
        "6f75726365506f7274cd463c"
    ),
    "plain packet SUSPECT": ("0c7094258e0383a446726f6da2676fab496e6361726e6174696f6e01a44e6f6465a3726177"),
    "plain packet PING+SUSPECT": (
        "0c9c0c3e850702003e00200085a44e6f6465a3726177a55365714e6f02aa536f7572636541646472a47f000047aa536f7572"
        "63654e6f6465a2676faa536f75726365506f7274cd463c0383a446726f6da2676fab496e6361726e6174696f6e01a44e6f64"
        "65a3726177"
    ),
    "plain packet ACK+SUSPECT": (
        "0702001600200282a75061796c6f6164c0a55365714e6fce000111700383a446726f6da2676fab496e6361726e6174696f6e"
        "01a44e6f6465a3726177"
    ),
    "plain packet NACK": ("0b81a55365714e6f05"),
    "plain packet DEAD": ("0c39db32b10583a446726f6da2676fab496e6361726e6174696f6e01a44e6f6465a3726177"),
    "compressed stream PushPull": (
        "0982a4416c676f00a3427566da0082000d0c22a5e44d1a37c34a397943a6cc9c00acaacc2923670a9d3074ca3029e306c021"
        "5241c8909143ea0f00004756257133268c1c3718d3bc71138054933217b5011831e60d9b3775e4f410c3a64e19103d7f061d"
        "5af46852a042891a25e5244c9b32a2cebc2105e58d1c3acd8cf0286511631900a3accc71632a40010127010404"
    ),
    "compressed packet ALIVE+ALIVE": (
        "0c40d915dd0982a4416c676f00a3427566da008b000f0800f005c00e028648052143460ea93f00001c5995c4cd983072dc84"
        "a193e68d9b00a49a94a113461b801163deb07953474e0f316cea9401917265cb973167d664e912a64c524ede902923eacc1b"
        "5250dec8a1d3cc088f5156e6b83115a0c0c08808153274081100128a16316ae4e811a44892c0800a2d334a4e983b48953275"
        "0a552a55ab11010404"
    ),
    "compressed packet PING+ALIVE+ALIVE": (
        "0982a4416c676f00a3427566da00b6000f0c00e003c017003b001422e5e40d9932a3e484b9536a4a99380d03a89af2a68e9c"
        "31658290212387d41f00008e6cecf8b14cc387a2cebc59e91124943772e83433c28380215222499a44796455123763c2c871"
        "13864e9a376e02906a52864e186d00468c79c386650f316cea9401b1b5abc7af61c796f50a562c43876562be217533e74e1e"
        "a3accc71632a4001012801f8043ab2e44900488c2255cad42954a954ad027bfb30e244ba3875f2ccbbb7efdfc00101"
    ),
    "compressed stream Ping": (
        "0982a4416c676f00a3427566da003d00011422e5e40d9932a3e484b9536a4a99380503a89af2a68e9c31658290212387d41f"
        "00008e4cac78b14cc183a2cebc19691123943772e83433c22320"
    ),
    "encrypted stream PushPull": (
        "0a0000007a017472bf15f05c330ea30054dcf6e7a8559fed6f987cfb5d2872364970c72d6cb307d6f426ff79212ee02e1776"
        "36fb85739501f93832648d606f53b66b7bda6d216d688ced8ec242ef83d909cee66e9719945d5654b8ed6301116c619f65a7"
        "b18c9abcc998c8c87ae26ac4be2fad83b3de7c435f5b6548fab9c2"
    ),
    "encrypted stream Ping": (
        "0a0000005b013ad662088e058b2c0149b17ed93d2fea3ebdc8b55b0fa0b3589a8e08fc130c367f926f875a88439ae40bee7e"
        "a6ab2e54d702f58473e3dfdd433e43ae3bed846ff1f919238ae67bf50a20dd082ab3ab97f1806544245656dcd131"
    ),
    "encrypted packet PING+SUSPECT": (
        "017203a910417f1317e84d4ba90bda6bf540f5b6b32ec2db8158f687e3fbce13070c7d76908b7910a2e482894f37b1b27ffc"
        "75e65ddff70e9f697a0b72b3b53107aaaab5b432483f8ac77edf56753262f2ebd9350779e6bfd4ad2c81014bd591bb1f1e6c"
        "fcd4d6df5bbaa91e0dee173f8a2d1e4eeacea569ddae26b0ed71bfbf16e99ea44a73"
    ),
    "encrypted packet NACK": ("01d03337d7d376c7baae5344dea7497404860dc2f301dbc187e83625fdec4a6044b6eed02e7e"),
    "encrypted-padded stream PushPull": (
        "0a0000007d009592eebc662efa39bf21dcf78ab96bf7cc648806fdc1946e5464eb3eab2bc9cdd951d4be9b6a2a90f4608b81"
        "9b295248956a696cddc34aca5c591025147e98b35ca64be135c9a90f0bb2dbdc8bc41c908f13d8f5774510d35f6533ee9015"
        "c3167940db6f8ad5a09b375d71a41bcb3f8a4533cd59e08f0c486d7d7d27"
    ),
    "encrypted-padded stream Ping": (
        "0a0000005d00118e75ce91c7b783bcd87964245061757be5a7328d6e9ae94726c98d6dfed39717ec70e0867e8956381ff3d2"
        "a3e3790f32c29d6e005f2e906d522e37b2cb8ffec8aa39f1fbe70832d3eaac552a73f12025a99f9d765f089412b9821e"
    ),
    "encrypted-padded packet PING+SUSPECT": (
        "00181ea3f659a83d5d5087fc59055ec042a8155ccd1b1a615068f2a30e1febd1a28a43543091b8bbc425beeea977d3e66583"
        "334be173bb775e7c68c947206780d89c2d6cb21fd7c274932b0638016781c6a608c774f7473edacfad2ca25985b19c10aad6"
        "d51069cb37d1a2cae632caf4daaacefb17160bfb7cfb0295d9a43c36d0374cd9cd745a2be88ea09834"
    ),
    "encrypted-padded packet NACK": (
        "00eacf423bd91257cf18e2b791b5f4314decd970c5796eaa3af9e3556eebf74c3015ae90d68701c58fc7d23ade"
    ),
    "labelled stream PushPull": (
        "f404626c75650a0000007a0165ef47698f1a15d37f5f34fc3be4b06eeacd04cd520600a97637dc0ab7f5ce0683fd8c87f795"
        "466bcb64946dc4cbfb220733ae8124e7c864ec32630f957ad312eb39a09521c1ed65f6b57dfecbfb75fdaa273f6e77ef7c88"
        "a72d850bae1e68859ad711ca8f59d3af97e8bd247892c5305de48219da97e654d3"
    ),
    "labelled stream Ping": (
        "f404626c75650a0000005b01009fe485fbdc48ee4fe018d3bf3265cddb94a74551c37cd8c00072e8705fc992684752fedf55"
        "a16f5f0475c616ab89cda69006b6be0cf925cdca267c4aeacdc4355d205b91de32bb7b96155b3048de4dfc39bce7cb29521c"
        "eb3c"
    ),
    "labelled packet PING+SUSPECT": (
        "f404626c7565013a05375b98ba079ae7299789f121d4034c5c179348f62aa7f78de73d4a2f3e2be4a81a31b19d36ca1b2cc5"
        "5c6284b6a11dbf085e2635e65f59c21ff769d857bf72d426c8a283b7e15b269c3835061a5670deee34d74277e17a4a7be896"
        "cd2693c9fd8a6e4aa60c2c6870b9856afa082a4d7e90ab1f621cdcc8bfb6250c5bbf74c1d948f3f9"
    ),
    "labelled packet NACK": (
        "f404626c756501e7df6cc7ece276ea6a88770a04314cf5b71c45c3c6c0b33200d7771984e67fd2632fc249f4"
    ),
}
_KEY = encryption.key_from_secret("golden secret")
_PORT = 17980
_GO, _RAW = b"\x7f\0\0\x47", b"\x7f\0\0\x48"
_VERSIONS = bytes((1, 5, 2, 0, 0, 0))


def _wrapping(sample: str) -> envelope.Envelope:
    variant = sample.split()[0]
    if variant in ("plain", "compressed"):
        return envelope.Envelope(compression=variant == "compressed")
    assert _KEY is not None
    return envelope.Envelope(
        label=b"blue" if variant == "labelled" else b"",
        keyring=aead.load_keyring((_KEY,), version=0 if variant == "encrypted-padded" else 1),
    )


@pytest.mark.parametrize("sample", [pytest.param(name, id=name) for name in _SAMPLES if " packet " in name])
def test_every_message_of_a_packet_is_read_and_written_the_same(sample: str) -> None:
    parts = _wrapping(sample).unwrap(bytes.fromhex(_SAMPLES[sample]))
    assert [messages.Kind(part[0]).name for part in parts] == sample.split()[2].split("+")
    for part in parts:
        message = messages.parse_packet(part)
        assert message is not None
        assert messages.serialise(message) == part


@pytest.mark.parametrize(
    "sample", [pytest.param(name, id=name) for name in _SAMPLES if name.startswith("plain packet")]
)
def test_a_plain_packet_is_wrapped_the_same(sample: str) -> None:
    packet = bytes.fromhex(_SAMPLES[sample])
    wrapping = _wrapping(sample)
    assert wrapping.wrap(wrapping.unwrap(packet), checksum=packet[0] == messages.Kind.CHECKSUM) == packet


@pytest.mark.parametrize("sample", [pytest.param(name, id=name) for name in _SAMPLES if "PushPull" in name])
def test_the_state_of_a_push_pull_is_read(sample: str) -> None:
    message = streams.StreamReader(_wrapping(sample), accepted=True).feed(bytes.fromhex(_SAMPLES[sample]))
    assert isinstance(message, streams.PushPull)
    assert message.join
    (state,) = message.states
    assert (state.node, state.address, state.port) == ("go", _GO, _PORT)
    assert (state.incarnation, state.state) == (1, 0)
    assert state.versions[:2] == _VERSIONS[:2]
    if sample.startswith("plain"):
        assert state.meta == b"colour=blue"
        assert message.user_state == b"user state"
        assert streams.wrap(message, _wrapping(sample), connected=True) == bytes.fromhex(_SAMPLES[sample])


@pytest.mark.parametrize("sample", [pytest.param(name, id=name) for name in _SAMPLES if "stream Ping" in name])
def test_a_ping_over_tcp_is_read(sample: str) -> None:
    message = streams.StreamReader(_wrapping(sample), accepted=True).feed(bytes.fromhex(_SAMPLES[sample]))
    assert isinstance(message, messages.Ping)
    assert (message.node, message.source_node, message.source_address) == ("raw", "go", _GO)


@pytest.mark.parametrize("sample", [pytest.param(name, id=name) for name in _SAMPLES if name.startswith("compressed")])
def test_compression_writes_the_same(sample: str) -> None:
    data = bytes.fromhex(_SAMPLES[sample])
    if data[0] == messages.Kind.CHECKSUM:
        data = data[5:]
    compressed = messages.parse(messages.Compressed, msgpack.Reader(data, 1))
    assert lzw.compress(lzw.decompress(compressed.data, 10_000)) == compressed.data
    assert messages.serialise(compressed) == data


def test_a_ping_is_what_go_says_it_is() -> None:
    ping, *_ = envelope.Envelope().unwrap(bytes.fromhex(_SAMPLES["plain packet PING+SUSPECT"]))
    assert messages.parse_packet(ping) == messages.Ping(
        sequence=2, node="raw", source_address=_GO, source_port=_PORT, source_node="go"
    )


def test_news_of_a_member_is_what_go_says_it_is() -> None:
    parts = envelope.Envelope().unwrap(bytes.fromhex(_SAMPLES["plain packet ALIVE+ALIVE"]))
    heard = {
        message.node: message for message in map(messages.parse_packet, parts) if isinstance(message, messages.Alive)
    }
    assert heard["raw"] == messages.Alive(
        incarnation=1, node="raw", address=_RAW, port=_PORT, meta=b"", versions=_VERSIONS
    )
    assert heard["go"].meta == b"colour=blue"


def test_a_big_sequence_number_is_read() -> None:
    ack, *_ = envelope.Envelope().unwrap(bytes.fromhex(_SAMPLES["plain packet ACK+SUSPECT"]))
    assert messages.parse_packet(ack) == messages.Ack(sequence=70_000)
