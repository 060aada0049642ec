namespace BlockMount.TestSupport.Scenarios;

/// <summary>VirtualBox's scenarios, each for every format that can be written; a derived class says over which files.</summary>
public abstract class VirtualBoxScriptFacts
{
    private protected abstract VirtualBoxScripts Scripts { get; }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    public Task Io(string format) => Scripts.IoAsync(format);

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    public Task Zero_blocks(string format) => Scripts.ZeroBlocksAsync(format);

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    [InlineData("raw")]
    public Task Io_unaligned(string format) => Scripts.UnalignedAsync(format);

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    public Task Discard(string format) => Scripts.DiscardAsync(format);

    [Theory]
    [InlineData("vdi", "vmdk")]
    [InlineData("vmdk", "vhd")]
    [InlineData("vhd", "vdi")]
    public Task Multiple_backends(string basis, string diff) => Scripts.MultipleBackendsAsync(basis, diff);

    [Fact]
    public Task Shareable() => Scripts.ShareableAsync();

    [Theory]
    [InlineData("vdi", "dynamic")]
    [InlineData("vdi", "fixed")]
    [InlineData("vhd", "dynamic")]
    [InlineData("vhd", "fixed")]
    [InlineData("vmdk", "dynamic")]
    [InlineData("vmdk", "fixed")]
    [InlineData("vmdk", "split2g")]
    [InlineData("vmdk", "split2g-fixed")]
    public Task Create_delete(string format, string variant) => Scripts.CreateDeleteAsync(format, variant);

    [Theory]
    [InlineData("vdi", true)]
    [InlineData("vdi", false)]
    [InlineData("vhd", true)]
    [InlineData("vhd", false)]
    [InlineData("vmdk", true)]
    [InlineData("vmdk", false)]
    public Task Create_write_open_merge(string format, bool intoParent) => Scripts.CreateWriteOpenMergeAsync(format, intoParent);

    [Theory]
    [InlineData("vdi", true)]
    [InlineData("vdi", false)]
    [InlineData("vhd", true)]
    [InlineData("vhd", false)]
    [InlineData("vmdk", true)]
    [InlineData("vmdk", false)]
    public Task Snap(string format, bool intoParent) => Scripts.SnapAsync(format, intoParent);
}
