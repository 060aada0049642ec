using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Machines;

namespace BlockMount.Core.Tests.Machines;

public sealed class VBoxMachineFileTests
{
    private const string FilePath = "/vms/web/web.vbox";

    [Fact]
    public void The_current_disk_is_attached_and_not_those_of_snapshots()
    {
        var machine = VBoxMachineFile.Parse(VBoxSamples.Snapshots, FilePath);

        Assert.Equal("Web & mail", machine.Name);
        Assert.Equal("1.19-linux", machine.SettingsVersion);
        var attachment = Assert.Single(machine.Attachments);
        Assert.Equal((new Guid(VBoxSamples.Current), "SATA", 0, 0), (attachment.Uuid, attachment.Controller, attachment.Port, attachment.Device));
        Assert.Equal($"/vms/web/Snapshots/{{{VBoxSamples.Current}}}.vdi", attachment.Disk?.FilePath);
    }

    [Fact]
    public void Nesting_links_images_to_their_parents()
    {
        var machine = VBoxMachineFile.Parse(VBoxSamples.Snapshots, FilePath);

        Assert.Equal(
            [VBoxSamples.Current, VBoxSamples.First, VBoxSamples.Base],
            machine.ChainOf(new Guid(VBoxSamples.Current)).Select(disk => disk.Uuid.ToString()));
        Assert.Equal([VBoxSamples.Base, VBoxSamples.First, VBoxSamples.Current], machine.Disks.Select(disk => disk.Uuid.ToString()));
        Assert.Equal(("VDI", "Normal", null), (machine.Disks[0].Format, machine.Disks[0].Type, machine.Disks[0].ParentUuid));
        Assert.Empty(machine.ChainOf(Guid.NewGuid()));
    }

    [Fact]
    public void Snapshots_keep_their_own_disks()
    {
        var machine = VBoxMachineFile.Parse(VBoxSamples.Snapshots, FilePath);

        Assert.Equal(["Clean", "Installed"], machine.Snapshots.Select(snapshot => snapshot.Name));
        Assert.Equal([null, machine.Snapshots[0].Uuid], machine.Snapshots.Select(snapshot => snapshot.ParentUuid));
        Assert.Equal([VBoxSamples.Base, VBoxSamples.First], machine.Snapshots.Select(s => Assert.Single(s.Attachments).Uuid.ToString()));
    }

    [Fact]
    public void Files_of_the_old_namespace_and_from_Windows_are_read()
    {
        var machine = VBoxMachineFile.Parse(VBoxSamples.TwoDisks, FilePath);

        Assert.Equal(["IDE: old:0:1", "IDE: old:0:0"], machine.Attachments.Select(attachment => attachment.Slot));
        var (system, data) = (machine.Disks[0], machine.Disks[1]);
        Assert.Equal(("/vms/web/disks/System.vdi", "System.vdi"), (system.FilePath, system.FileName));
        Assert.Equal((null, "Data.vmdk"), (data.FilePath, data.FileName));
    }

    [Fact]
    public void A_machine_without_registry_still_names_its_disk()
    {
        var machine = VBoxMachineFile.Parse(VBoxSamples.NoRegistry, FilePath);

        Assert.Empty(machine.Disks);
        var attachment = machine.SelectDisk(null);
        Assert.Equal((new Guid(VBoxSamples.Orphan), "SATA:2:0", null), (attachment.Uuid, attachment.Slot, attachment.Disk));
        Assert.Same(attachment, machine.SelectDisk(VBoxSamples.Orphan));
    }

    [Theory]
    [InlineData("disk.vdi", "/vms/web/disk.vdi")]
    [InlineData("../other/./disk.vdi", "/vms/other/disk.vdi")]
    [InlineData("/data//x/../disk.vdi", "/data/disk.vdi")]
    [InlineData(@"Snapshots\{x}.vdi", "/vms/web/Snapshots/{x}.vdi")]
    [InlineData("a:b.vdi", "/vms/web/a:b.vdi")]
    [InlineData(@"C:\VMs\disk.vdi", null)]
    [InlineData("C:/VMs/disk.vdi", null)]
    [InlineData(@"\\server\share\disk.vdi", null)]
    public void Locations_become_paths_of_this_system(string location, string? path)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the paths are those of Linux");
        var text = VBoxSamples.WithRegistry($"<HardDisk uuid=\"{{{VBoxSamples.Base}}}\" location=\"{location}\" format=\"VDI\"/>");

        var disk = Assert.Single(VBoxMachineFile.Parse(text, FilePath).Disks);

        Assert.Equal(path, disk.FilePath);
        Assert.Equal(location, disk.Location);
        Assert.Equal(location[(location.LastIndexOfAny(['/', '\\']) + 1)..], disk.FileName);
    }

    [Fact]
    public void An_iSCSI_target_is_no_path()
    {
        var text = VBoxSamples.WithRegistry($"<HardDisk uuid=\"{{{VBoxSamples.Base}}}\" location=\"10.0.0.1|iqn.x:y/0\" format=\"iSCSI\"><Property name=\"TargetName\" value=\"iqn\"/></HardDisk>");

        var disk = Assert.Single(VBoxMachineFile.Parse(text, FilePath).Disks);

        Assert.Equal((null, ""), (disk.FilePath, disk.FileName));
    }

    [Theory]
    [InlineData("utf-8", false)]
    [InlineData("utf-8", true)]
    [InlineData("utf-16", true)]
    [InlineData("utf-16BE", true)]
    public void Bytes_are_read_with_and_without_byte_order_mark(string encoding, bool mark)
    {
        var encoder = Encoding.GetEncoding(encoding);
        var bytes = (byte[])[.. mark ? encoder.Preamble : [], .. encoder.GetBytes(VBoxSamples.Snapshots)];

        Assert.Equal("Web & mail", VBoxMachineFile.Parse(bytes, FilePath).Name);
    }

    [Fact]
    public void Deep_snapshot_trees_as_VirtualBox_allows_them_are_read()
    {
        var disks = string.Concat(Enumerable.Range(0, 300).Select(index => $"<HardDisk uuid=\"{Number(index)}\" location=\"{index}.vdi\">"))
            + string.Concat(Enumerable.Repeat("</HardDisk>", 300));

        var machine = VBoxMachineFile.Parse(VBoxSamples.WithRegistry(disks), FilePath);

        Assert.Equal(300, machine.ChainOf(Number(299)).Count);
    }

    [Theory]
    [InlineData("", ErrorKind.NotThisFormat, "line 0")]
    [InlineData("# Disk DescriptorFile", ErrorKind.NotThisFormat, "line 1")]
    [InlineData("<Envelope/>", ErrorKind.NotThisFormat, "Envelope")]
    [InlineData("<VirtualBox/>", ErrorKind.NotThisFormat, "no Machine")]
    [InlineData("<VirtualBox><Global/></VirtualBox>", ErrorKind.NotThisFormat, "global settings")]
    [InlineData("<VirtualBox><MachineEncrypted/></VirtualBox>", ErrorKind.UnsupportedFeature, "encrypted")]
    [InlineData("<VirtualBox>\n<Machine name='x'>\n</VirtualBox>", ErrorKind.CorruptImage, "line 3")]
    [InlineData("<VirtualBox><Machine name='x'", ErrorKind.CorruptImage, "line 1")]
    [InlineData("<VirtualBox><Machine/>\n<Machine/></VirtualBox>", ErrorKind.CorruptImage, "line 2: there is a second Machine")]
    [InlineData("<VirtualBox>\n<Machine uuid='7'/></VirtualBox>", ErrorKind.CorruptImage, "line 2: uuid of a Machine element is \"7\"")]
    [InlineData("<!DOCTYPE VirtualBox SYSTEM 'file:///etc/passwd'><VirtualBox/>", ErrorKind.NotThisFormat, "DTD")]
    public void What_is_no_machine_file_is_refused_with_its_line(string text, ErrorKind kind, string sentence)
    {
        var error = Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(text, FilePath));

        Assert.Equal(kind, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.StartsWith(FilePath, error.Message, StringComparison.Ordinal);
        Assert.Equal(FilePath, error.Path);
    }

    [Theory]
    [InlineData("<HardDisk location='a.vdi'/>", "a HardDisk element has no uuid")]
    [InlineData("<HardDisk uuid='{x}' location='a.vdi'/>", "uuid of a HardDisk element is \"{x}\", not a UUID")]
    [InlineData($"<HardDisk uuid='{VBoxSamples.Base}'/>", "a HardDisk element has no location")]
    [InlineData($"<HardDisk uuid='{VBoxSamples.Base}' location='a'/><HardDisk uuid='{VBoxSamples.Base}' location='b'/>", "registered twice")]
    public void A_registry_that_contradicts_itself_is_refused(string disks, string sentence)
    {
        var error = Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(VBoxSamples.WithRegistry(disks), FilePath));

        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_port_that_is_no_number_is_refused()
    {
        var text = VBoxSamples.Snapshots.Replace("port=\"0\"", "port=\"-1\"", StringComparison.Ordinal);

        Assert.Contains("port of a AttachedDevice element is \"-1\"", Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(text, FilePath)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_sentence_about_a_machine_file_is_short_and_printable_whatever_the_file_says()
    {
        var much = new string('x', 1 << 20);
        var disks = string.Concat(Enumerable.Range(0, 5000).Select(i => $"<AttachedDevice type='HardDisk' port='{i}'><Image uuid='{Number(i)}'/></AttachedDevice>"));
        string[] texts =
        [
            $"<{much}/>", $"<VirtualBox><{much}></VirtualBox>", $"<VirtualBox><Machine uuid='&#10;{much}'/></VirtualBox>", "<VirtualBox>\u0001</VirtualBox>",
            VBoxSamples.WithRegistry($"<HardDisk location='a' uuid='\n{much}'/>"), VBoxSamples.Snapshots.Replace("port=\"0\"", $"port=\"&#9;{much}\"", StringComparison.Ordinal),
            $"<VirtualBox><Machine name='&#10;{much}'/></VirtualBox>", $"<VirtualBox><Machine name='m'><StorageController name='&#10;{much}'>{disks}</StorageController></Machine></VirtualBox>",
        ];
        foreach (var text in texts)
        {
            var error = Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(text, FilePath).SelectDisk(null));

            Assert.InRange(error.Message.Length, 30, 10_000);
            Assert.DoesNotContain(error.Message, char.IsControl);
            Assert.EndsWith(".", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_bomb_of_entities_is_refused_unopened()
    {
        var text = "<!DOCTYPE VirtualBox [<!ENTITY a \"aaaaaaaaaa\">"
            + string.Concat(Enumerable.Range(1, 20).Select(i => $"<!ENTITY a{i} \"{string.Concat(Enumerable.Repeat(i == 1 ? "&a;" : $"&a{i - 1};", 10))}\">"))
            + "]><VirtualBox><Machine name=\"&a20;\"/></VirtualBox>";

        Assert.Equal(ErrorKind.NotThisFormat, Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(text, FilePath)).Kind);
    }

    [Fact]
    public void Endless_nesting_and_endless_files_are_refused()
    {
        var deep = "<VirtualBox>" + string.Concat(Enumerable.Repeat("<a>", 100000));
        var large = new string(' ', VBoxMachineFile.MaximumSize + 1);

        Assert.Contains("nested deeper", Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(deep, FilePath)).Message, StringComparison.Ordinal);
        Assert.Contains("at most", Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(large, FilePath)).Message, StringComparison.Ordinal);
        Assert.Contains("at most", Assert.Throws<DiskException>(() => VBoxMachineFile.Parse(new byte[VBoxMachineFile.MaximumSize + 1], FilePath)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bytes_that_are_no_text_are_refused()
    {
        var error = Assert.Throws<DiskException>(() => VBoxMachineFile.Parse((byte[])[0x3C, 0xFF, 0x00], FilePath));

        Assert.Equal((ErrorKind.NotThisFormat, 1L), (error.Kind, error.Offset));
    }

    [Fact]
    public void Mutated_files_are_read_or_refused_with_a_disk_error()
    {
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        string[] samples = [VBoxSamples.Snapshots, VBoxSamples.TwoDisks, VBoxSamples.NoRegistry];
        for (var round = 0; round < 2000; round++)
        {
            var text = new StringBuilder(samples[round % samples.Length]);
            for (var mutations = random.Next(1, 8); mutations > 0; mutations--)
            {
                var at = random.Next(text.Length - 60);
                switch (random.Next(3))
                {
                    case 0: text[at] = "<>\"'/&{}\0\u001f\ud800x"[random.Next(12)]; break;
                    case 1: text.Remove(at, random.Next(60)); break;
                    default: text.Insert(at, text.ToString(random.Next(text.Length - 60), random.Next(60))); break;
                }
            }

            try
            {
                var machine = VBoxMachineFile.Parse(text.ToString(), FilePath);
                Assert.All(machine.Disks, disk => Assert.NotEmpty(machine.ChainOf(disk.Uuid)));
            }
            catch (Exception e) when (e is not DiskException)
            {
                throw new InvalidOperationException($"seed {seed}, round {round}: {text}", e);
            }
            catch (DiskException e)
            {
                Assert.Contains(e.Kind, (ErrorKind[])[ErrorKind.CorruptImage, ErrorKind.NotThisFormat]);
            }
        }
    }

    private static Guid Number(int index) => new(index + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
}
