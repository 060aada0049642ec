using BlockMount.Core.Errors;
using BlockMount.Core.Machines;

namespace BlockMount.Core.Tests.Machines;

public sealed class VBoxSelectDiskTests
{
    private readonly VBoxMachineFile _one = VBoxMachineFile.Parse(VBoxSamples.Snapshots, "/vms/web/web.vbox");
    private readonly VBoxMachineFile _two = VBoxMachineFile.Parse(VBoxSamples.TwoDisks, "/vms/two/two.vbox");

    [Theory]
    [InlineData(null)]
    [InlineData(VBoxSamples.Current)]
    [InlineData("{AAAAAAAA-0000-4000-8000-000000000003}")]
    [InlineData("SATA:0")]
    [InlineData("sata:0:0")]
    [InlineData($"{{{VBoxSamples.Current}}}.vdi")]
    [InlineData("web.vdi")]
    [InlineData("Web")]
    [InlineData(VBoxSamples.Base)]
    public void Every_way_to_name_a_disk_means_its_current_state(string? selector) =>
        Assert.Equal(VBoxSamples.Current, _one.SelectDisk(selector).Uuid.ToString());

    [Theory]
    [InlineData("IDE: old:0:1", VBoxSamples.Base)]
    [InlineData("IDE: old:0:0", VBoxSamples.Data)]
    [InlineData("system", VBoxSamples.Base)]
    [InlineData("Data.vmdk", VBoxSamples.Data)]
    public void One_of_several_disks_is_picked_by_slot_or_name(string selector, string uuid) =>
        Assert.Equal(uuid, _two.SelectDisk(selector).Uuid.ToString());

    [Theory]
    [InlineData(null)]
    [InlineData("IDE: old:0")]
    public void An_ambiguous_choice_lists_the_disks(string? selector)
    {
        var error = Assert.Throws<DiskException>(() => _two.SelectDisk(selector));

        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains("IDE: old:0:1 (System.vdi), IDE: old:0:0 (Data.vmdk)", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("SATA:1")]
    [InlineData("web.vmdk")]
    [InlineData("eeeeeeee-0000-4000-8000-000000000001")]
    [InlineData("")]
    public void A_disk_that_is_not_there_is_not_found_and_the_others_are_listed(string selector)
    {
        var error = Assert.Throws<DiskException>(() => _one.SelectDisk(selector));

        Assert.Equal(ErrorKind.NotFound, error.Kind);
        Assert.Contains("SATA:0:0 (web.vdi)", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_machine_without_disks_says_so()
    {
        var machine = VBoxMachineFile.Parse(VBoxSamples.WithRegistry(""), "/vms/x/x.vbox");

        Assert.Contains("has no hard disk", Assert.Throws<DiskException>(() => machine.SelectDisk(null)).Message, StringComparison.Ordinal);
    }
}
