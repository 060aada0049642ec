# Builds blockmount and runs it in a small image.
#
#   docker build -t blockmount .
#   docker run --rm -v "$PWD:/images:ro" blockmount info /images/leaf.vdi
#   docker run --rm --device /dev/fuse --cap-add SYS_ADMIN -v "$PWD:/images" blockmount serve --socket /images/disk.sock /images/leaf.vdi
FROM mcr.microsoft.com/dotnet/sdk:10.0 AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY . /source
RUN dotnet publish /source/src/BlockMount.Host --configuration Release --output /out

FROM mcr.microsoft.com/dotnet/runtime:10.0
RUN apt-get update && apt-get install -y --no-install-recommends libdeflate0 fuse3 libfuse3-3 e2fsprogs mount util-linux \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out /usr/local/lib/blockmount
RUN ln -s /usr/local/lib/blockmount/blockmount /usr/local/bin/blockmount
ENTRYPOINT ["blockmount"]
