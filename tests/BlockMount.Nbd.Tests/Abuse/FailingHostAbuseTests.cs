using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>A VDI and its child on a host that runs full or fails: what cannot be done is said, what was there is kept, nothing is made up.</summary>
public sealed class FailingHostAbuseTests : AbuseTest
{
    private const int Block = 64 << 10;
    private const string Base = "/d/base.vdi";
    private const string Leaf = "/d/leaf.vdi";
    private Func<StoreCall, long, long, Exception?> _leafFault = static (_, _, _) => null;
    private Func<StoreCall, long, Exception?> _baseFault = static (_, _) => null;
    private long _baseLength;
    private readonly byte[] _content = new byte[Size];

    public static TheoryData<ErrorKind, uint, StoreCall> WriteFailures => new()
    {
        { ErrorKind.NoSpace, NBD_ENOSPC, StoreCall.Write },
        { ErrorKind.NoSpace, NBD_ENOSPC, StoreCall.Resize },
        { ErrorKind.Io, NBD_EIO, StoreCall.Write },
    };

    [Theory]
    [Row(73)]
    [MemberData(nameof(WriteFailures))]
    public async Task A_write_that_the_host_cannot_take_fails_alone_and_all_others_hold(ErrorKind kind, uint error, StoreCall call)
    {
        var chain = await OpenChainAsync();
        using var client = Serve(chain, content: _content).Go();
        Write(client, block: 1, value: 1);

        _leafFault = (what, _, length) =>
            what == call && (call == StoreCall.Resize || length >= 4096) ? new DiskException(kind, "/d/leaf.vdi: the host says no.") : null;
        client.Request(NBD_CMD_WRITE, 2 * Block, Block, cookie: 8, payload: Payload(Block));
        var reply = client.Reply();
        AssertRefusal(reply, structured: true, 8, error);
        Assert.Equal("/d/leaf.vdi: the host says no.", reply.Text);
        DeviceFails = true;

        // Nothing of it is seen, and what was there before is.
        Assert.Equal(_content[(2 * Block)..(3 * Block)], client.Read(2 * Block, Block));
        Assert.Equal(Payload(Block, 1), client.Read(Block, Block));
        AssertAlive(client);

        // With the trouble over, this block and others are written and flushed.
        _leafFault = static (_, _, _) => null;
        Write(client, block: 3, value: 3);
        Write(client, block: 2, value: 2);
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
        Assert.Equal(Payload(Block, 2), client.Read(2 * Block, Block));
        Assert.Equal(Payload(Block, 3), client.Read(3 * Block, Block));
    }

    [Theory]
    [Row(74)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_a_parent_no_longer_gives_is_an_error_with_its_name_and_never_zeros(bool structured)
    {
        var chain = await OpenChainAsync();
        using var client = Serve(chain, content: _content).Go(structured);
        Write(client, block: 1, value: 1);

        // All of the parent is gone but its last two blocks, which the witness reads.
        var end = _baseLength - (2 * Block);
        _baseFault = (call, offset) =>
            call == StoreCall.Read && offset < end ? new DiskException(ErrorKind.Io, $"/d/base.vdi: the file ends before byte {offset}.") : null;
        DeviceFails = true;
        foreach (var (offset, length, good) in ((ulong, uint, uint)[])[(4 * Block, 512, 0), (2 * Block, 4 * Block, 0), (Block - 512, 1024, 0), ((2 * Block) - 512, 1024, 512)])
        {
            client.Request(NBD_CMD_READ, offset, length, cookie: offset);
            var reply = client.Reply();
            if (structured && good > 0)
            {
                // What the child holds in front of the gap is the child's.
                Assert.Equal((offset, NBD_REPLY_TYPE_OFFSET_DATA, (ushort)0), (reply.Cookie, reply.Type, reply.Flags));
                Assert.Equal(Payload(Block, 1)[..(int)good], reply.Data[8..]);
                reply = client.Reply();
            }

            AssertReadFailed(reply, structured, offset, offset + good);
            Assert.True(!structured || reply.Text.StartsWith("/d/base.vdi:", StringComparison.Ordinal));
        }

        // The child's own blocks are whole, and a part of a block that needs the parent is not written over with made-up rest.
        Assert.Equal(Payload(Block, 1), client.Read(Block, Block));
        Write(client, block: 1, value: 7);
        client.Request(NBD_CMD_WRITE, 6 * Block, 512, cookie: 5, payload: Payload(512));
        AssertRefusal(client.Reply(), structured, 5, NBD_EIO);
        _baseFault = static (_, _) => null;
        Assert.Equal(_content[(6 * Block)..(7 * Block)], client.Read(6 * Block, Block));
        Assert.Equal(_content[(4 * Block)..(5 * Block)], client.Read(4 * Block, Block));
    }

    private static void Write(Support.RawClient client, int block, byte value) =>
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, (ulong)(block * Block), Block, payload: Payload(Block, value)));

    /// <summary>A full base and an empty child on it, in stores that can be told to fail.</summary>
    private async Task<DiskChain> OpenChainAsync()
    {
        var provider = new MemoryProvider();
        new Random(4).NextBytes(_content);
        await CreateAsync(provider, Base, parent: null);
        await using (var chain = await new ChainOpener(provider).OpenAsync(Base, new ChainOpenOptions()))
        {
            await chain.WriteAsync(0, _content);
            await chain.FlushAsync();
        }

        ParentLink link;
        await using (var store = await provider.OpenAsync(Base, StoreAccess.Probe))
        {
            link = (await FormatRegistry.ByExtension(Base)!.ReadLinksAsync(store, default))!.Value.Identity.ToLink() with { NameHint = "base.vdi" };
        }

        await CreateAsync(provider, Leaf, link);
        _baseLength = provider[Base].Length;
        provider.Wrap = store => new FailingStore(store)
        {
            Fault = store.Name == Leaf
                ? (call, offset, length) => _leafFault(call, offset, length)
                : (call, offset, _) => _baseFault(call, offset),
        };
        return await new ChainOpener(provider).OpenAsync(Leaf, new ChainOpenOptions());
    }

    private static async Task CreateAsync(MemoryProvider provider, string path, ParentLink? parent)
    {
        await using var created = await provider.CreateAsync(path);
        await FormatRegistry.ByExtension(path)!.CreateAsync(
            created,
            new ImageContext(provider),
            new ImageCreateOptions { Capacity = Size, BlockSize = Block, Parent = parent, ParentPath = parent is null ? null : Base },
            default);
    }
}
