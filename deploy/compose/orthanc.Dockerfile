# Debian's Orthanc, the one that Vertecast is tested with, and the plugin.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends orthanc orthanc-dicomweb orthanc-python \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o orthanc -g orthanc /var/lib/orthanc/db
COPY pipeline/vertecast/service/orthanc/vertecast_plugin.py /usr/share/vertecast/vertecast_plugin.py
COPY deploy/compose/orthanc.json /etc/vertecast/orthanc.json
USER orthanc
VOLUME /var/lib/orthanc/db
EXPOSE 4242 8042
CMD ["/usr/sbin/Orthanc", "/etc/vertecast/orthanc.json"]
