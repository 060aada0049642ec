using System.Reflection;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>What a format says that it can do is what creating and opening its images does, and what it does not say is refused.</summary>
public sealed class FormatCapabilityTests
{
    private const int Capacity = 4 << 20;

    private readonly MemoryProvider _provider = new();

    public static TheoryData<string> Formats => [.. FormatRegistry.All.Select(static f => f.Name)];

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Uuid_says_whether_an_image_keeps_the_UUID_that_it_is_given(string name)
    {
        var uuid = Guid.NewGuid();
        await HoldsAsync(name, FormatCapabilities.Uuid, new() { Capacity = Capacity, Uuid = uuid }, layer => Assert.Equal(uuid, layer.Identity.Uuid));
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Create_fixed_says_whether_all_space_can_be_there_from_the_beginning(string name) =>
        await HoldsAsync(name, FormatCapabilities.CreateFixed, new() { Capacity = Capacity, Variant = "fixed" }, layer =>
        {
            Assert.True(layer.Files.Sum(f => (long)_provider[f].Length) >= Capacity);
            Assert.Equal(RunKind.Data, layer.ResolveAsync(0, Capacity, default).AsTask().Result.Kind);
        });

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Create_dynamic_says_whether_an_image_can_begin_without_its_space(string name)
    {
        // A raw file has its length at once; its space is the file system's, which SetLength leaves unasked for.
        var allocated = 0;
        _provider.Wrap = store => new CountingStore(store, () => allocated++);
        await HoldsAsync(name, FormatCapabilities.CreateDynamic, new() { Capacity = Capacity, Variant = "dynamic" }, layer =>
        {
            Assert.Equal(0, allocated);
            Assert.True(layer.Describe().BlockSize == 0 || layer.Describe().Allocated == 0);
        });
        _ = await MakeAsync(name, new() { Capacity = Capacity, Variant = "fixed" });
        Assert.True(allocated > 0, "this test would not notice");
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Create_split_2g_says_whether_an_image_can_be_of_pieces_below_2_GiB(string name)
    {
        var options = new ImageCreateOptions { Capacity = 5L << 30, Variant = "split2g" };
        await HoldsAsync(name, FormatCapabilities.CreateSplit2g, options, layer =>
        {
            Assert.Equal(4, layer.Files.Count);
            Assert.Equal(options.Capacity, layer.Capacity);
        });
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Differencing_says_whether_an_image_can_have_a_parent(string name)
    {
        var link = new ParentLink(Guid.NewGuid(), Guid.NewGuid(), 7, "base.vdi", 5);
        await HoldsAsync(name, FormatCapabilities.Differencing, new() { Capacity = Capacity, Parent = link, ParentPath = "/d/base.vdi" }, layer =>
        {
            Assert.Equal(link.Uuid, layer.Parent?.Uuid);
            Assert.Equal("differencing", layer.Describe().Variant);
        });
        Assert.Equal(Has(name, FormatCapabilities.Differencing), FormatRegistry.ByName(name).CanHaveParent);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Async_says_whether_a_caller_goes_on_while_the_file_is_waited_for(string name)
    {
        Assert.True(Has(name, FormatCapabilities.Async), "no format waits on its caller's thread");
        var path = await MakeAsync(name, new() { Capacity = Capacity, Variant = "fixed" });
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var waits = false;
        _provider.Wrap = store => new WaitingStore(store, () => waits ? gate.Task : Task.CompletedTask);
        await using var chain = await TestChains.OpenAsync(_provider, path);
        await chain.WriteAsync(4096, new byte[] { 1, 2, 3 });
        waits = true;

        var found = new byte[3];
        var (read, write, flush) = (chain.ReadAsync(4096, found).AsTask(), chain.WriteAsync(8192, new byte[] { 4 }).AsTask(), chain.FlushAsync().AsTask());
        Assert.False(read.IsCompleted || write.IsCompleted || flush.IsCompleted);
        gate.SetResult();
        await Task.WhenAll(read, write, flush);
        Assert.Equal(new byte[] { 1, 2, 3 }, found);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task File_says_that_images_are_files_and_none_is_reached_over_a_network(string name)
    {
        Assert.Equal(FormatCapabilities.File, FormatRegistry.ByName(name).Capabilities & (FormatCapabilities.File | FormatCapabilities.TcpNet));
        foreach (var variant in FormatRegistry.ByName(name).Variants)
        {
            var options = new ImageCreateOptions { Capacity = Capacity, Variant = variant };
            var path = await MakeAsync(name, options);
            Assert.Equal(_provider.Paths.Where(p => p.StartsWith(Path.ChangeExtension(path, null), StringComparison.Ordinal)), FormatRegistry.ByName(name).FilesFor(path, options).Order(StringComparer.Ordinal));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Every_variant_can_be_made_and_is_told_and_others_are_refused_with_the_list(string name)
    {
        var format = FormatRegistry.ByName(name);
        foreach (var variant in format.Variants)
        {
            var path = await MakeAsync(name, new() { Capacity = Capacity, Variant = variant });
            await using var layer = await OpenAsync(path, readOnly: true);
            Assert.Equal(name, layer.Describe().Format);
            Assert.Equal(name == "raw" ? "raw" : variant, layer.Describe().Variant);
            Assert.Equal(Capacity, layer.Capacity);
        }

        await using var usual = await OpenAsync(await MakeAsync(name, new() { Capacity = Capacity }), readOnly: true);
        Assert.Equal(name == "raw" ? "raw" : format.Variants[0], usual.Describe().Variant);
        foreach (var other in FormatRegistry.All.SelectMany(static f => f.Variants).Append("nonsense").Distinct().Except(format.Variants))
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => MakeAsync(name, new() { Capacity = Capacity, Variant = other }));
            Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
            Assert.All(format.Variants, v => Assert.Contains(v, error.Message, StringComparison.Ordinal));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Every_extension_leads_to_its_format(string name) =>
        Assert.All(FormatRegistry.ByName(name).Extensions, e => Assert.Equal(name, FormatRegistry.ByExtension("/d/DISK" + e.ToUpperInvariant())?.Name));

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Config_says_whether_there_are_keys_and_each_is_a_property_that_does_something(string name)
    {
        var format = FormatRegistry.ByName(name);
        Assert.Equal(Has(name, FormatCapabilities.Config), format.ConfigKeys.Count > 0);
        Assert.Equal(format.ConfigKeys.Count, format.ConfigKeys.DistinctBy(static k => k.Name).Count());
        foreach (var key in format.ConfigKeys)
        {
            var property = key.Owner.GetProperty(key.Property, BindingFlags.Public | BindingFlags.Instance);
            Assert.True(property is { CanWrite: true }, $"{key.Owner.Name}.{key.Property}");
            Type[] fits = key.Kind switch
            {
                ConfigValueKind.Integer => [typeof(long?)],
                ConfigValueKind.Flag => [typeof(bool)],
                ConfigValueKind.Text => [typeof(string), typeof(IReadOnlyList<RawPartitionChoice>)],
                _ => [typeof(ReadOnlyMemory<byte>?)],
            };
            Assert.Contains(property.PropertyType, fits);
        }

        Assert.Equal(format.CanNameDevices, format.ConfigKeys.Any(static k => k.Name == "RawDrive"));
        await HoldsAsync(
            format.ConfigKeys.Any(static k => k.Name == "AllocationBlockSize"), name, new() { Capacity = Capacity, BlockSize = 1 << 17 },
            layer => Assert.Equal(1 << 17, layer.Describe().BlockSize));
    }

    private static bool Has(string name, FormatCapabilities bit) => (FormatRegistry.ByName(name).Capabilities & bit) != 0;

    private Task HoldsAsync(string name, FormatCapabilities bit, ImageCreateOptions options, Action<ImageLayer> check) => HoldsAsync(Has(name, bit), name, options, check);

    /// <summary>What the format can do is done, and what it cannot is refused with nothing made.</summary>
    private async Task HoldsAsync(bool can, string name, ImageCreateOptions options, Action<ImageLayer> check)
    {
        if (can)
        {
            await using var layer = await OpenAsync(await MakeAsync(name, options), readOnly: false);
            check(layer);
        }
        else
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => MakeAsync(name, options));
            Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
            Assert.DoesNotContain(_provider.Paths, p => _provider[p].Length > 0);
        }
    }

    private ValueTask<ImageLayer> OpenAsync(string path, bool readOnly) =>
        new ChainOpener(_provider).OpenImageAsync(path, new() { ReadOnly = readOnly });

    private async Task<string> MakeAsync(string name, ImageCreateOptions options)
    {
        var path = $"/d/{options.Variant ?? "usual"}.{name}";
        await using var store = await _provider.CreateAsync(path);
        await FormatRegistry.ByName(name).CreateAsync(store, new ImageContext(_provider), options, default);
        return path;
    }

    /// <summary>Notices space that is asked for.</summary>
    private sealed class CountingStore(ByteStore inner, Action allocated) : PassingStore(inner)
    {
        protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken)
        {
            allocated();
            return base.AllocateCoreAsync(offset, length, cancellationToken);
        }
    }

    /// <summary>Reads, writes and flushes wait for a task first.</summary>
    private sealed class WaitingStore(ByteStore inner, Func<Task> wait) : PassingStore(inner)
    {
        protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
        {
            await wait();
            await base.ReadCoreAsync(offset, buffer, cancellationToken);
        }

        protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
        {
            await wait();
            await base.WriteCoreAsync(offset, data, cancellationToken);
        }

        protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
        {
            await wait();
            await base.FlushCoreAsync(cancellationToken);
        }
    }
}
