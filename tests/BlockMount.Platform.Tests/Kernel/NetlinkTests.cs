using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Platform.Kernel;

namespace BlockMount.Platform.Tests.Kernel;

/// <summary>Messages to and from the kernel's generic netlink, byte by byte (linux/netlink.h, linux/genetlink.h).</summary>
public sealed class NetlinkTests
{
    [Fact]
    public void A_request_has_headers_and_attributes_padded_to_four_bytes()
    {
        var bytes = new NetlinkWriter(family: 0x1234, command: 3, sequence: 7)
            .Add(2, "ab")
            .AddNested(7, all => all.AddNested(1, one => one.Add(1, 5u)))
            .Add(9, 0x1122334455667788ul)
            .Finish();

        byte[] attributes =
        [
            7, 0, 2, 0, (byte)'a', (byte)'b', 0, 0,
            16, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 5, 0, 0, 0,
            12, 0, 9, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
        ];
        Assert.Equal(bytes.Length, BinaryPrimitives.ReadInt32LittleEndian(bytes));
        Assert.Equal(0x1234, BinaryPrimitives.ReadInt16LittleEndian(bytes.AsSpan(4)));
        Assert.Equal(5, BinaryPrimitives.ReadInt16LittleEndian(bytes.AsSpan(6)));
        Assert.Equal(7, BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(8)));
        Assert.Equal([3, 1, 0, 0], bytes[16..20]);
        Assert.Equal(attributes, bytes[20..]);
    }

    [Fact]
    public void Attributes_are_read_back_and_one_that_is_cut_off_ends_the_list()
    {
        byte[] bytes = [8, 0, 1, 0, 5, 0, 0, 0, 7, 0, 2, 0x80, 1, 2, 3, 0, 9, 0, 3, 0, 1];

        var parsed = NetlinkAttributes.Parse(bytes);

        Assert.Equal([1, 2], parsed.Select(static a => (int)a.Type));
        Assert.Equal([1, 2, 3], parsed[1].Value.ToArray());
        Assert.Equal(5u, NetlinkAttributes.Find<uint>(bytes, 1));
        Assert.Null(NetlinkAttributes.Find<ulong>(bytes, 1));
        Assert.Null(NetlinkAttributes.Find<uint>(bytes, 3));
        Assert.Empty(NetlinkAttributes.Parse(new byte[] { 0, 0, 1, 0, 9, 9, 9, 9 }));
    }

    [Fact]
    public void A_real_kernel_answers_and_tells_which_families_it_has()
    {
        using var control = GenericNetlink.Open("nlctrl");
        using var other = GenericNetlink.Open("no-such-family");

        Assert.True(control.IsKnown);
        Assert.False(other.IsKnown);
        Assert.Equal(0, control.Request(3, static m => m.Add(2, "nlctrl"), out var answers));
        Assert.Equal("nlctrl\0", Encoding.UTF8.GetString(NetlinkAttributes.Parse(Assert.Single(answers)).First(static a => a.Type == 2).Value.Span));
    }

    [Fact]
    public void Without_the_driver_the_sentence_says_how_to_get_it()
    {
        Assert.SkipWhen(NbdKernel.IsPresent, "this kernel has the nbd driver");

        var e = Assert.Throws<DiskException>(NbdKernel.Open);

        Assert.Equal(ErrorKind.HostLacks, e.Kind);
        Assert.Contains("modprobe nbd", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_socket_knows_when_its_peer_is_gone_and_not_when_bytes_wait()
    {
        var (ours, theirs) = SocketPair.Create();
        using (ours)
        {
            Assert.False(SocketPair.IsAbandoned(ours));
            using (var other = new System.Net.Sockets.Socket(theirs))
            {
                other.Send([1]);
                Assert.False(SocketPair.IsAbandoned(ours));
                ours.Receive(new byte[1]);
            }

            Assert.True(SocketPair.IsAbandoned(ours));
        }
    }

    [Fact]
    public void What_is_started_so_inherits_safety_from_reclaim_and_the_caller_has_it_no_longer()
    {
        const int resource = 24;
        var rights = File.ReadLines("/proc/self/status").First(static l => l.StartsWith("CapEff:", StringComparison.Ordinal))["CapEff:".Length..].Trim();
        Assert.SkipUnless((Convert.ToUInt64(rights, 16) >> resource & 1) == 1, "this process has no CAP_SYS_RESOURCE, without which the kernel refuses it");

        var inside = ReclaimSafety.Inherited(static () =>
        {
            var started = false;
            var thread = new Thread(() => started = ReclaimSafety.IsOn);
            thread.Start();
            thread.Join();
            return ReclaimSafety.IsOn && started;
        });

        Assert.True(inside);
        Assert.False(ReclaimSafety.IsOn);
    }
}
