using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>VMDKs that claim far more than they hold, or whose text is made to mislead.</summary>
public sealed class VmdkHostileTests
{
    private const int Grain = 16 * 512;
    private const string Start = "# Disk DescriptorFile\nversion=1\nCID=123abc\nparentCID=ffffffff\n";
    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData("RW 1 \u001b[31m\u009b \"a.vmdk\"", "type is '?[31m?'")]
    [InlineData("RW \u0007 ZERO", "its size is '?'")]
    [InlineData("RW 1 FLAT \"a.vmdk\" \u001b]0;x", "its offset in the file is '?]0;x'")]
    [InlineData("RW 1 FLAT \"\u001b[2Jb.vmdk\" 0", "its extent /d/?[2Jb.vmdk is missing")]
    [InlineData("RW 2 FLAT \"\u001b[2Ja.vmdk\" 0", "/d/?[2Ja.vmdk: the VMDK extent of 2 sectors")]
    public async Task A_sentence_about_a_descriptor_holds_no_control_character_of_it(string line, string sentence)
    {
        _provider["/d/\u001b[2Ja.vmdk"] = new byte[512];
        _provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(Start + line + "\n");

        var message = await ErrorAsync("/d/x.vmdk");

        Assert.Contains(sentence, message, StringComparison.Ordinal);
        Assert.DoesNotContain(message, char.IsControl);
    }

    [Theory]
    [InlineData("RW 1 * \"a.vmdk\"")]
    [InlineData("RW 9* ZERO")]
    [InlineData("RW 1 FLAT \"a.vmdk\" *")]
    [InlineData("RW 1 FLAT \"*\" 0")]
    [InlineData("RW 1 FLAT \"../*\" 0")]
    public async Task A_value_of_any_length_gives_a_short_sentence(string line)
    {
        _provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(Start + line.Replace("*", new string('7', 100_000), StringComparison.Ordinal) + "\n");

        Assert.InRange((await ErrorAsync("/d/x.vmdk")).Length, 50, 600);
    }

    private async Task<string> ErrorAsync(string path) =>
        (await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, path, readOnly: true))).Message;
}
