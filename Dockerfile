# Builds blockmount, and an image that serves disks.
#
#   docker build -t blockmount .
#   docker build --target test .                                                   every test
#   docker run --rm -v "$PWD:/images:ro" blockmount info /images/leaf.vdi
#   docker run --rm --user "$(id -u)" -v "$PWD:/images" -p 127.0.0.1:10809:10809 blockmount serve --tcp 0.0.0.0:10809 /images/leaf.vdi
FROM mcr.microsoft.com/dotnet/sdk:10.0 AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY . /source
RUN dotnet publish /source/src/BlockMount.Host --configuration Release --use-current-runtime --self-contained \
    -p:PublishReadyToRun=true -p:DebugType=none -p:PublishDocumentationFiles=false --artifacts-path /tmp/build --output /out

FROM build AS test
RUN cd /source && tests/run

FROM mcr.microsoft.com/dotnet/runtime-deps:10.0
RUN apt-get update && apt-get install -y --no-install-recommends libdeflate0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out /usr/lib/blockmount
RUN ln -s /usr/lib/blockmount/blockmount /usr/bin/blockmount
USER 1654
EXPOSE 10809
ENTRYPOINT ["blockmount"]
